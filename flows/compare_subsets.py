"""Compare training data by training on it: subsets of a dataset, or selection methods on any folder of MIDI files.

The test files of a dataset are the rows of split `test`. Of a folder a fifth of the pieces is held out; files of one
folder are one piece.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aria_data.compare.comparison_report import save_report
from aria_data.errors import UsageError
from aria_data.manifest import Dataset
from aria_data.manifest.columns import subset_column, weight_column
from aria_data.manifest.dataset import midi_path_of
from aria_data.pruning import Budget, SelectConfig, select
from aria_data.pruning.selection import BY_RANK, BY_SCORE, METHODS
from aria_data.storage import exclusive_lock, not_writable, printable
from flows.select_subset import FILES_PER_PROCESS, WHERE, group_of

if TYPE_CHECKING:
    from aria_data.compare import CompareConfig, Comparison, Subset
    from aria_data.pruning.seeds import ScoringConfig

TEST_WHERE = "in_pruned and is_cluster_lead and split = 'test'"
MAX_LINES = 20  # at most so many unreadable files are listed
MIDI_SUFFIXES = (".mid", ".midi")
_SCORE = re.compile(r"(?<![a-z])scores?(?![a-z])", re.IGNORECASE)  # in a file's name: midi_score, score-2, Score
NUMBERS = {"calibrated": "alpha", "window": "offset"}  # what SCORE:METHOD:NUMBER sets
NUM_DRAWS = 3  # selections by a method that draws at random: one draw does not describe the method

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pool:
    """Files to train and test on: paths and groups by id."""

    files: Mapping[str, Path]
    groups: Mapping[str, str]
    test: tuple[str, ...] | None = None  # ids; None: whole groups are drawn at random and held out
    subsets: Mapping[str, Subset] = field(default_factory=dict)  # subsets of the dataset, by name


@dataclass(frozen=True, slots=True)
class Method:
    """A selection method to compare. `name` is as the user wrote it; `score` is "" where the method needs none."""

    name: str
    method: str
    score: str = ""
    number: float | None = None  # what `NUMBERS` names

    @classmethod
    def parse(cls, text: str) -> Method:
        """Read `group_random`, `el2n:top`, `el2n:calibrated:0.1`, `loss:window:0.2`. Raises `UsageError`."""
        parts = text.strip().split(":")
        score = parts.pop(0) if len(parts) > 1 else ""
        number = parts.pop() if len(parts) > 1 else None
        if len(parts) != 1 or parts[0] not in METHODS or (number is not None and parts[0] not in NUMBERS):
            raise UsageError(
                f"{printable(text)!r} is no method. Write METHOD, SCORE:METHOD, SCORE:calibrated:ALPHA or "
                f"SCORE:window:OFFSET; methods are {', '.join(METHODS)}."
            )
        if parts[0] in BY_SCORE and not score:
            raise UsageError(f"{parts[0]} goes by a score. Write SCORE:{parts[0]}, for example el2n:{parts[0]}.")
        try:
            share = None if number is None else float(number)
        except ValueError as error:
            raise UsageError(f"{printable(text)!r}: {number!r} is no number between 0 and 1.") from error
        method = cls(text.strip(), parts[0], score if parts[0] in BY_SCORE else "", share)
        method.config(0.5)  # raises for a wrong number before anything is trained
        if method.score:
            _require_score(method.score)
        return method

    def config(self, fraction: float) -> SelectConfig:
        given: dict[str, Any] = {} if self.number is None else {NUMBERS[self.method]: self.number}
        return SelectConfig(self.method, Budget(fraction), weights_mean_one=True, **given)

    @property
    def num_draws(self) -> int:
        return 1 if self.method in BY_RANK else NUM_DRAWS


def _require_score(score: str) -> None:
    from aria_data.pruning.columns import PROBED, require_known
    from aria_data.pruning.score_table import RANDOM

    if score in PROBED:
        raise UsageError(f"{score} needs a probe, which this has not. `aria-data score`, then select, then --subsets.")
    if score not in RANDOM:
        require_known([score])


def pool_of(
    source: Path,
    version: str | None = None,
    names: Iterable[str] = (),
    exclude: Sequence[str] = (),
    announce: Callable[[str], None] = lambda line: None,
) -> Pool:
    """The pool of a dataset, or of a folder of MIDI files, which has no versions and no subsets.

    Raises `UsageError` for a dataset with files to `exclude`; what is raised besides, `pool_of_folder` and
    `pool_of_dataset` say.
    """
    if not (source / "manifest").is_dir():
        return pool_of_folder(source, exclude, announce)
    if exclude:
        raise UsageError(
            f"{printable(str(source))}: --exclude is for a folder of MIDI files. Choose rows by --subsets."
        )
    return pool_of_dataset(source, version, names)


def pool_of_folder(
    folder: Path, exclude: Sequence[str] = (), announce: Callable[[str], None] = lambda line: None
) -> Pool:
    """All MIDI files below a folder, grouped by their folders, without those that a pattern of `exclude` names.

    `announce` gets one line a time: how many were excluded, and that files are named as scores and are trained on as
    performances. Raises `UsageError` when there are no files, and for a pattern that names none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
    if not paths:
        raise UsageError(f"{printable(str(folder))}: holds no dataset and no .mid files.")
    files = _without({_name_of(path.relative_to(folder)): path for path in paths}, exclude, announce)
    if scores := [key for key in files if _SCORE.search(Path(key).stem)]:
        announce(
            f"{len(scores)} of {len(files)} files are named as scores, such as {printable(scores[0])}; they are "
            f"trained on as performances. --exclude '{printable(Path(scores[0]).name)}' leaves out what is named so."
        )
    groups = {key: key.rpartition("/")[0] or key for key in files}
    return Pool(files, groups)


def _without(files: dict[str, Path], exclude: Sequence[str], announce: Callable[[str], None]) -> dict[str, Path]:
    """The files whose name and path match no pattern. Raises `UsageError` for an idle one, or where none is left."""
    for pattern in exclude:
        out = {key for key in files if fnmatchcase(key, pattern) or fnmatchcase(key.rpartition("/")[2], pattern)}
        if not out:
            raise UsageError(
                f"--exclude {printable(pattern)}: no file that is left has such a name or such a path below the folder."
            )
        announce(f"left out by --exclude {printable(pattern)}: {len(out)} of {len(files)} files")
        files = {key: path for key, path in files.items() if key not in out}
    if not files:
        raise UsageError("--exclude leaves no file. Give a narrower pattern.")
    return files


def _name_of(path: Path) -> str:
    """A path as valid UTF-8 text; bytes of a name that are not UTF-8 are escaped."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def pool_of_dataset(root: Path, version: str | None, names: Iterable[str], where: str = WHERE) -> Pool:
    """The training rows, the test rows and the named subsets of a version (None: the newest).

    Raises `UsageError` for a subset that the version lacks or that is empty.
    """
    from aria_data.compare import Subset

    dataset = Dataset(root, version)
    wanted = ["segment_id", "recording_id", "recording_cluster", "composition_id", "midi_path"]
    found: dict[str, Subset] = {}
    rows = {row["segment_id"]: row for row in dataset.select(where).table.select(wanted).to_pylist()}
    for name in names:
        inside, weights = _subset_of(dataset, name)
        rows |= inside
        found[name] = Subset(tuple(inside), weights)
    test = {row["segment_id"]: row for row in dataset.select(TEST_WHERE).table.select(wanted).to_pylist()}
    everything = rows | test
    files = {key: midi_path_of(root, row) for key, row in everything.items()}
    groups = {key: group_of(row, "composition") for key, row in everything.items()}
    return Pool(files, groups, tuple(test), found)


def _subset_of(dataset: Dataset, name: str) -> tuple[dict[str, Any], Sequence[float]]:
    column, weight = subset_column(name), weight_column(name)
    if column not in dataset.column_names:
        raise UsageError(
            f"{printable(name)}: version {dataset.version} has no such subset. `aria-data subsets` lists them."
        )
    selection = dataset.select(column)
    if not len(selection):
        raise UsageError(f"{printable(name)}: no file of version {dataset.version} is in it.")
    rows = {row["segment_id"]: row for row in selection.table.to_pylist()}
    is_weighted = weight in dataset.column_names and not selection.table[weight].null_count
    return rows, tuple(selection.weights(weight)) if is_weighted else ()


def with_lists(pool: Pool, lists: Mapping[str, Path]) -> Pool:
    """Add choices that were made elsewhere: text files with an id a line, or id, tab, weight. `#` begins a comment.

    An id is a segment's, or in a folder of MIDI files a path below it. Raises `UsageError` with file and line for an id
    that is not there or comes twice, and for a weight that is no number.
    """
    from aria_data.compare import Subset

    found = {name: Subset(*_read_list(path, pool)) for name, path in lists.items()}
    if both := sorted(found.keys() & pool.subsets.keys()):
        raise UsageError(f"--list {printable(both[0])}: a subset has that name. Give the list another one.")
    return replace(pool, subsets={**pool.subsets, **found})


def _read_list(path: Path, pool: Pool) -> tuple[list[str], list[float]]:
    weights: dict[str, float] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(str(path))}: cannot be read as text ({error}). Give ids, one a line.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        where, (name, _, weight) = f"{printable(str(path))}:{number}", line.rstrip().partition("\t")
        if name in weights or name not in pool.files:
            what = "comes twice" if name in weights else "is not among the files. Give ids as `losses.csv` has them"
            raise UsageError(f"{where}: {printable(name)!r} {what}.")
        try:
            weights[name] = float(weight) if weight else 1.0
        except ValueError as error:
            raise UsageError(f"{where}: the weight {printable(weight)!r} is no number.") from error
    if not weights:
        raise UsageError(f"{printable(str(path))}: names no file. Give ids, one a line.")
    return list(weights), list(weights.values())


def compare_subsets(
    pool: Pool,
    methods: Sequence[Method],
    fractions: Sequence[float],
    out: Path,
    config: CompareConfig,
    scoring: ScoringConfig | None = None,
    progress: Progress = lambda what, done, total: None,
    announce: Callable[[str], None] = lambda line: None,
    processes: int = 1,
) -> Comparison:
    """Score if a method needs it, select, train, test, and write the report into `out`. A killed run goes on.

    `progress` gets progress as (part, done, total), `announce` one line a time. Raises `DatasetLocked` when another
    comparison works in `out`, `DatasetNotWritable` where nothing can be written, `UsageError` where the split `test`
    has fewer than two compositions.
    """
    with exclusive_lock(out / ".lock"):
        cache = cache_in(out)
        comparison = _compared(pool, methods, fractions, cache, config, scoring, progress, announce, processes)
        save_report(comparison, out)
    return comparison


def cache_in(out: Path) -> Path:
    """The folder in `out` for what is trained, made where it is not there. Raises `DatasetNotWritable`."""
    try:
        (out / "cache").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(out, error) from error
    return out / "cache"


def _compared(
    pool: Pool,
    methods: Sequence[Method],
    fractions: Sequence[float],
    cache: Path,
    config: CompareConfig,
    scoring: ScoringConfig | None,
    progress: Progress,
    announce: Callable[[str], None],
    processes: int,
) -> Comparison:
    from aria_data.compare import compare
    from aria_data.compare.compare_arms import hold_out
    from aria_data.surrogate import make_windows

    if pool.test is not None and len({pool.groups[key] for key in pool.test}) < 2:
        raise UsageError("Fewer than two compositions are in the split test, so there is nothing to test on.")
    readers = min(processes, 1 + len(pool.files) // FILES_PER_PROCESS)
    windows = make_windows(
        pool.files, None, pool.groups, cache, readers, lambda done, total: progress("tokens", done, total)
    )
    test = hold_out(windows, config) if pool.test is None else pool.test
    test_groups = {pool.groups[key] for key in test if key in pool.groups}
    training = [key for key in windows.ids if pool.groups[key] not in test_groups]
    chosen: dict[str, Any] = dict(pool.subsets)
    if methods:
        chosen |= _selections(pool, methods, fractions, training, scoring, cache, progress, processes)
    for line in list(windows.left_out.values())[:MAX_LINES]:
        announce(f"left out: {line}")
    return compare(windows, chosen, config, test, cache, progress, announce, processes)


def _selections(
    pool: Pool,
    methods: Sequence[Method],
    fractions: Sequence[float],
    training: Sequence[str],
    scoring: ScoringConfig | None,
    cache: Path,
    progress: Progress,
    processes: int,
) -> dict[str, Any]:
    from aria_data.pruning import ScoreTable
    from aria_data.pruning.scoring import score

    needed = sorted({method.score for method in methods} - {""})
    files = {key: pool.files[key] for key in training}
    groups = {key: pool.groups[key] for key in training}
    if needed:
        readers = min(processes, 1 + len(files) // FILES_PER_PROCESS)
        table = score(files, scoring, (0, 1, 2), groups, None, cache, progress, needed, readers)
    else:
        table = ScoreTable.of(training, {}, [groups[key] for key in training])
    return {
        f"{method.name}:{fraction:g}": [
            select(table.pool(method.score or "random_0"), method.config(fraction), seed)
            for seed in range(method.num_draws)
        ]
        for method in methods
        for fraction in fractions
    }
