"""Score a dataset's files once, select from the scores many times; a selection becomes a named subset with weights.

DATASET/scores/<table>.parquet   a score table (`aria_data.pruning.score_table`)
DATASET/scores/cache/            trained surrogates: a killed run goes on, and another score needs no training
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest import Dataset, Manifest
from aria_data.manifest.dataset import midi_path_of
from aria_data.pruning import Pool, ScoreTable, SelectConfig, Selection, select
from aria_data.pruning.score_table import SCORE_NAME
from aria_data.pruning.selection import BY_SCORE
from aria_data.release import SelectedRow
from aria_data.release.splits import EXCLUDED
from aria_data.storage import exclusive_lock, printable
from flows.define_subset import define_selection

if TYPE_CHECKING:
    from aria_data.pruning.seeds import ScoringConfig

WHERE = "in_pruned and is_cluster_lead and split = 'train'"  # broken files and copies first: both distort scores
PROBE_WHERE = "in_pruned and is_cluster_lead and split = 'validation'"
MIN_PROBE_FILES = 20  # with fewer no influence is computed: it would depend on which files they are
FILES_PER_PROCESS = 200  # a process takes some seconds to start, a file 50 ms to read
GROUPS = ("composition", "recording", "none")

Progress = Callable[[str, int, int], None]  # (part, done, total)


def _quiet(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class ScoreRequest:
    """Which files of a dataset are scored, and how."""

    where: str = WHERE
    probe_where: str = PROBE_WHERE  # the files that influence is measured on
    version: str | None = None
    groups: str = "composition"
    seeds: int = (
        3  # our choice: one seed ranks files with rho 0.97 to 0.99 for EL2N, but 0.7 for the norm of all gradients
    )
    only: tuple[str, ...] = ()  # columns to compute; empty: all
    table: str = ""  # name of the table; "": v<version of the manifest>

    def __post_init__(self) -> None:
        if self.groups not in GROUPS:
            raise UsageError(f"groups: {self.groups!r} is not one of {', '.join(GROUPS)}.")
        if self.seeds < 1:
            raise UsageError("seeds: at least 1 is needed.")
        if self.only:
            from aria_data.pruning.columns import require_known

            require_known(self.only)
        if self.table and not SCORE_NAME.fullmatch(self.table):
            raise UsageError(f"table: {printable(self.table)!r} is not of small letters, digits and _.")


def score_dataset(
    root: Path,
    request: ScoreRequest,
    config: ScoringConfig | None = None,
    progress: Progress = _quiet,
    processes: int = 1,
) -> tuple[str, ScoreTable]:
    """Score the files of a version and save the table. Gives (name of the table, table).

    A table of that name keeps its other columns where it was made from the same files, models and seeds. Raises
    `UsageError` for fewer than two files, or where a score that was asked for needs more probe files; `DatasetLocked`
    when another scoring runs.
    """
    from aria_data.pruning.scoring import score

    dataset = Dataset(root, request.version)
    files, groups = _files(dataset, request.where, request.groups)
    if len(files) < 2:
        raise UsageError(
            f"{len(files)} files fit {request.where!r}, but scoring compares files. Choose another --where."
        )
    probe, probe_groups = _files(dataset, request.probe_where, request.groups) if request.probe_where else ({}, {})
    probe = {key: path for key, path in probe.items() if probe_groups[key] not in set(groups.values())}
    seeds = range(request.seeds)
    _require_probe(request, len(probe))
    with exclusive_lock(root / "scores" / ".lock"):
        table = score(
            files,
            config,
            tuple(seeds),
            groups | probe_groups,
            probe if len(probe) >= MIN_PROBE_FILES else None,
            root / "scores" / "cache",
            progress,
            request.only or None,
            min(processes, 1 + len(files) // FILES_PER_PROCESS),
        )
    name = request.table or f"v{dataset.version}"
    about = {
        "manifest_version": dataset.version,
        "manifest_content_sha256": Manifest(root).versions()[dataset.version - 1].content_sha256,
        "request": asdict(request),
    }
    table = _with_known(root, name, table).with_columns({}, about)
    table.save(_path(root, name))
    return name, table


def _require_probe(request: ScoreRequest, num_files: int) -> None:
    from aria_data.pruning.columns import PROBED

    if num_files < MIN_PROBE_FILES and (asked := sorted(set(request.only) & set(PROBED))):
        raise UsageError(
            f"{', '.join(asked)}: is measured on at least {MIN_PROBE_FILES} files of the split validation; "
            f"{num_files} are there."
        )


def _with_known(root: Path, name: str, table: ScoreTable) -> ScoreTable:
    """The new scores, and the columns of the saved table where it has the same files, models and seeds."""
    try:
        known = ScoreTable.load(_path(root, name))
    except (DatasetNotFound, DatasetCorrupt):
        return table
    same = ("data_sha256", "config", "tokenizer_sha256", "scoring_version", "probe")
    is_same = all(known.about.get(key) == table.about.get(key) for key in same)
    if known.ids != table.ids or not is_same or set(known.about.get("seeds", ())) != set(table.about["seeds"]):
        return table
    both = {
        key: {**known.about.get(key, {}), **table.about.get(key, {})} for key in ("directions", "seed_rank_correlation")
    }
    return known.with_columns(table.columns, {**table.about, **both})


def _files(dataset: Dataset, where: str, groups: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The MIDI file and the group of each row for which `where` holds, by segment_id."""
    names = ["segment_id", "recording_id", "recording_cluster", "composition_id", "midi_path"]
    rows = dataset.select(where).table.select(names).to_pylist()
    return (
        {row["segment_id"]: midi_path_of(dataset.root, row) for row in rows},
        {row["segment_id"]: group_of(row, groups) for row in rows},
    )


def group_of(row: Mapping[str, Any], groups: str) -> str:
    """The group of a manifest row, by one of `GROUPS`; with "none" each row is a group of its own.

    A row without a composition is grouped by its recording cluster, one without a cluster by its recording.
    """
    if groups == "none":
        return row["segment_id"]
    if groups == "composition" and row["composition_id"]:
        return row["composition_id"]
    return row["recording_cluster"] or row["recording_id"]


def _path(root: Path, name: str) -> Path:
    return root / "scores" / f"{name}.parquet"


def score_tables(root: Path) -> list[str]:
    """The names of a dataset's score tables, the newest last."""
    paths = sorted((root / "scores").glob("*.parquet"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [path.stem for path in paths]


def load_scores(root: Path, name: str = "") -> tuple[str, ScoreTable]:
    """Read a score table, by default the newest. Raises `DatasetNotFound` with the names of those that exist."""
    known = score_tables(root)
    if not known or (name and name not in known):
        there = f"Known: {', '.join(known)}." if known else f"Run `aria-data score {root}` first."
        raise DatasetNotFound(f"{root}: has no score table {printable(name) or 'yet'}. {there}")
    chosen = name or known[-1]
    return chosen, ScoreTable.load(_path(root, chosen))


@dataclass(frozen=True)
class SelectRequest:
    """A subset to be selected from a score table."""

    name: str
    score: str = ""  # a column of the table; "" for a method that needs none
    table: str = ""  # "": the newest
    seed: int = 0
    config: SelectConfig = field(default_factory=SelectConfig)


def select_subset(root: Path, request: SelectRequest) -> tuple[int, Selection]:
    """Select from a score table and release a version with `in_<name>` and `weight_<name>`. Gives (version, selection).

    The pool is the scored rows without those that have been removed or excluded since. Where the method needs no score
    and there is no table, it is the rows that would be scored: `WHERE`. Raises `UsageError` where the
    score is missing or nothing can be kept, `DatasetNotFound` without a table.
    """
    table_name, table = _table_for(root, request)
    if request.config.method in BY_SCORE and not request.score:
        raise UsageError(f"{request.config.method} goes by a score. Say which: --score {', '.join(table.columns)}.")
    if request.score and request.score not in table.columns:
        raise UsageError(
            f"score: {request.score!r} is not in the table {table_name}. It has {', '.join(table.columns)}. "
            f"Tables: {', '.join(score_tables(root))}."
        )
    scored = table.pool(request.score or "random_0")
    pool = _of_ids(scored, _may_be_chosen(root))
    if not len(pool):
        raise UsageError(
            f"{root}: none of the {len(scored)} files of the score table {table_name} is in the newest version. "
            f"Choose another --table: {', '.join(score_tables(root))}."
        )
    selection = select(pool, request.config, request.seed)
    if not selection.ids:
        raise UsageError(f"Nothing is left to keep of {len(pool)} files: the budget or the limits are too narrow.")
    if len(pool) < len(scored):
        gone = len(scored) - len(pool)
        selection.warnings.append(f"{gone} scored files were removed or excluded since; they are not chosen from.")
    splits = _splits_of(root, selection.ids)
    selection.warnings.extend(
        f"{count} of the selected files are in the split {split}: train on none of them, or choose another --where."
        for split, count in splits.items()
        if split != "train"
    )
    about = _about(request, table_name, table, selection) | {"splits": list(splits)}
    define_selection(root, request.name, selected_rows(selection), about)
    return Manifest(root).version(), selection


def _table_for(root: Path, request: SelectRequest) -> tuple[str, ScoreTable]:
    """The table that is asked for; where none is needed and there is none, ("", one of rows without scores)."""
    if request.score or request.table or request.config.method in BY_SCORE or score_tables(root):
        return load_scores(root, request.table)
    rows = (
        Dataset(root)
        .select(WHERE)
        .table.select(["segment_id", "recording_id", "recording_cluster", "composition_id", "duration_s", "num_notes"])
    )
    groups = [group_of(row, "composition") for row in rows.to_pylist()]
    minutes = np.asarray(rows["duration_s"], dtype=float) / 60
    ids, num_notes = rows["segment_id"].to_pylist(), np.asarray(rows["num_notes"])
    about = {"manifest_version": Dataset(root).version}
    if not ids:
        raise UsageError(f"{root}: no row fits {WHERE!r}, so there is nothing to select from.")
    return "", ScoreTable.of(ids, {}, groups, minutes, num_notes, about)


def _splits_of(root: Path, ids: Collection[str]) -> dict[str, int]:
    """How many of the files are in each split. A file that is in another one later leaves the selection."""
    found = Manifest(root).query("", columns=["segment_id", "split"]).to_pylist()
    wanted = set(ids)
    return dict(sorted(Counter(row["split"] for row in found if row["segment_id"] in wanted).items()))


def _may_be_chosen(root: Path) -> set[str]:
    found = Manifest(root).query(f"split <> '{EXCLUDED}'", columns=["segment_id"])
    return set(found["segment_id"].to_pylist())


def _of_ids(pool: Pool, ids: Collection[str]) -> Pool:
    kept = [number for number, one in enumerate(pool.ids) if one in ids]
    chosen = [pool.ids[number] for number in kept]
    return Pool.of(chosen, pool.scores[kept], pool.groups[kept], pool.minutes[kept], pool.num_notes[kept])


def selected_rows(selection: Selection) -> list[SelectedRow]:
    """A selection as rows of a subset."""
    values = zip(selection.ids, selection.weights.tolist(), selection.inclusion_probs.tolist(), strict=True)
    return [SelectedRow(key, weight, prob, selection.reasons[key]) for key, weight, prob in values]


def _about(request: SelectRequest, table_name: str, table: ScoreTable, selection: Selection) -> dict[str, Any]:
    config = request.config
    by = f"{request.score} {config.method}" if config.method in BY_SCORE else config.method
    budget = {key: value for key, value in asdict(config.budget).items() if value is not None}
    return {
        "summary": f"{by}, {', '.join(f'{key} {value:g}' for key, value in budget.items()) or 'no budget'}",
        "score": request.score,
        "seed": request.seed,
        "config": json.loads(json.dumps(asdict(request.config))),
        "score_table": table_name,
        "scored": {key: table.about.get(key) for key in ("manifest_version", "data_sha256", "scoring_version")},
        "effective_num_files": round(selection.effective_num_files, 3),
        "warnings": selection.warnings,
    }
