"""Score files: several surrogates' scores averaged, with where they come from. One surrogate's are in `seeds.py`.

With a `cache_dir` the same call goes on after a kill with the seed that was interrupted, and asking for one more
score later trains nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import ConfigInvalid, UsageError
from aria_data.pruning.columns import COLUMNS, DIRECTIONS, PROBED, require_known
from aria_data.pruning.score_table import ScoreTable
from aria_data.pruning.seeds import VERSION, Material, Progress, ScoringConfig, SeedScores, score_seed
from aria_data.storage import not_writable
from aria_data.surrogate import Windows, make_windows
from aria_data.surrogate.training import disjoint_folds
from aria_data.surrogate.windows import Midi


def score(
    files: Mapping[str, Midi],
    config: ScoringConfig | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    groups: Mapping[str, str] | None = None,
    probe: Mapping[str, Midi] | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    only: Collection[str] | None = None,
    processes: int = 1,
) -> ScoreTable:
    """Score `files` (id -> path or bytes); `groups` says which belong together, as performances of one composition do.

    `probe`: files that influence is measured on, such as a validation set; they and their groups must not be among
    `files`. Without one there is no influence: it depends so much on the probe that a few pieces held out of the files
    do not do (rank correlation from one such fold to another -0.14, between networks with one probe 0.83). Each
    seed then holds out whole groups of its own to validate on, no file for more than one seed, and does not score them:
    a file that was not trained on looks 0.2 to 0.7 standard deviations harder. `only` names columns of
    `columns.COLUMNS`.
    """
    config, say = config or ScoringConfig(), progress or (lambda what, done, total: None)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigInvalid(f"seeds: {list(seeds)} must be one or more different numbers.")
    wanted = require_known(only)
    if only is not None and not probe and (needy := sorted(wanted & set(PROBED))):
        raise UsageError(
            f"{needy[0]} needs a probe: files held out, of other pieces. Give one, such as a validation set."
        )
    _require_folder(cache_dir)
    windows = make_windows(
        files, config.tokens, groups, cache_dir, processes, lambda done, total: say("tokens", done, total)
    )
    probes = make_windows(probe, config.tokens, groups, cache_dir, processes) if probe else None
    if probes:
        _require_disjoint(windows, probes)
    folds = _folds(windows, config.surrogate.validation_share, len(seeds), probes is not None)
    material = Material(windows, probes, config, cache_dir, say)
    found = [score_seed(material, seed, fold, wanted) for seed, fold in zip(seeds, folds, strict=True)]
    names = [name for name in COLUMNS if any(name in each.columns for each in found)]
    stacks = {name: _stack(found, name, len(windows.ids)) for name in names}
    columns = {name: combine(values) for name, values in stacks.items()}
    about = _about(windows, probes, config) | {
        "directions": {name: DIRECTIONS[name] for name in names},
        "seed_rank_correlation": {name: rank_agreement(values) for name, values in stacks.items()},
        "seeds": {str(seed): each.facts for seed, each in zip(seeds, found, strict=True)},
        "warnings": sorted({line for each in found for line in each.facts["warnings"]}),
    }
    return ScoreTable.of(windows.ids, columns, windows.groups, windows.minutes, windows.num_notes, about)


def combine(values: np.ndarray) -> np.ndarray:
    """Average (seeds, files) over the seeds that have the file, the seeds' levels being evened out.

    A seed that did not score a file would otherwise move that file against the others by its own level: file and seed
    effects are fitted by least squares, and the level is the mean of the seeds'.
    """
    is_there = np.isfinite(values)
    if len(values) == 1 or is_there.all():
        return values.mean(axis=0)
    filled, counts = np.where(is_there, values, 0.0), is_there.sum(axis=0)
    levels = np.zeros(len(values))
    of_files = np.zeros(values.shape[1])
    for _ in range(50):
        of_files = ((filled - levels[:, None]) * is_there).sum(axis=0) / np.maximum(counts, 1)
        levels = ((filled - of_files) * is_there).sum(axis=1) / np.maximum(is_there.sum(axis=1), 1)
        levels -= levels.mean()
    return np.where(counts > 0, of_files, np.nan)


def rank_agreement(values: np.ndarray) -> float | None:
    """Mean of Spearman's rho over pairs of seeds, of files that both have; None where that says nothing."""
    from scipy.stats import spearmanr

    found = []
    for one, other in combinations(values, 2):
        is_both = np.isfinite(one) & np.isfinite(other)
        if is_both.sum() > 2 and np.ptp(one[is_both]) and np.ptp(other[is_both]):
            found.append(float(spearmanr(one[is_both], other[is_both]).statistic))
    return float(np.mean(found)) if found else None


def _require_folder(folder: Path | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True) if folder else None
    except OSError as error:
        raise not_writable(folder or "", error) from error


def _stack(found: Sequence[SeedScores], name: str, num_files: int) -> np.ndarray:
    return np.stack([each.columns.get(name, np.full(num_files, np.nan)) for each in found])


def _folds(windows: Windows, share: float, count: int, has_probe: bool) -> list[tuple[int, ...]]:
    """The files each seed holds out; none for a single seed, which would leave them without a score."""
    if has_probe or count < 2:
        return [()] * count
    return disjoint_folds(windows.groups, share, count, seed=0)


def _require_disjoint(windows: Windows, probes: Windows) -> None:
    """No file, no content and no group on both sides: a probe that was trained on praises what it has seen."""
    for what, mine, theirs in (("file", windows.ids, probes.ids), ("group", windows.groups, probes.groups)):
        if both := sorted(set(mine) & set(theirs)):
            raise UsageError(f"The {what} {both[0]!r} is in the files and in the probe. Take it out of one of them.")
    rows = {row.tobytes() for row in np.asarray(probes.tokens)}
    for owner, row in zip(windows.owners, windows.tokens, strict=True):
        if row.tobytes() in rows:
            raise UsageError(f"The file {windows.ids[owner]!r} is in the probe under another name. Take it out.")


def _about(windows: Windows, probes: Windows | None, config: ScoringConfig) -> dict[str, Any]:
    """Where the scores come from, as plain JSON values."""
    return {
        "scoring_version": VERSION,
        "config": asdict(config),
        "tokenizer_sha256": windows.vocabulary.sha256,
        "num_windows": len(windows.owners),
        "data_sha256": windows.sha256,
        "probe": {"data_sha256": probes.sha256, "num_files": len(probes.ids)} if probes else None,
        "left_out": dict(windows.left_out) | ({f"probe: {k}": v for k, v in probes.left_out.items()} if probes else {}),
    }
