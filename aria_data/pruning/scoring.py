"""Score files: average the scores of several surrogates, and record how they were made. `seeds.py` has one surrogate's.

With a `cache_dir` the same call continues after a kill with the interrupted seed, and another score that is asked for
later needs no training.
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
    """Score `files` (id -> path or bytes). `groups` gives each file's composition or cluster.

    `probe` has files to measure influence on, such as a validation set; neither they nor their groups may be among
    `files`. Without a probe there are no columns of influence: a few files held out do not replace it (rank correlation
    between two such folds -0.14, between networks with one probe 0.83). Instead each seed then holds out whole groups
    to validate on, no file for more than one seed, and does not score them: a file that was not trained on looks 0.2
    to 0.7 standard deviations harder. `only` names columns of `columns.COLUMNS`.

    Raises `ConfigInvalid` for missing or repeated seeds, and `UsageError` for an unknown column, one that needs a
    probe, a probe that shares files or groups with `files`, or no readable file.
    """
    config, on_progress = config or ScoringConfig(), progress or (lambda what, done, total: None)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigInvalid(f"seeds: {list(seeds)} must be one or more different numbers.")
    wanted = require_known(only)
    if only is not None and not probe and (needy := sorted(wanted & set(PROBED))):
        raise UsageError(
            f"{needy[0]} needs a probe: files held out, of other pieces. Give one, such as a validation set."
        )
    _require_folder(cache_dir)
    windows = make_windows(
        files, config.tokens, groups, cache_dir, processes, lambda done, total: on_progress("tokens", done, total)
    )
    probes = make_windows(probe, config.tokens, groups, cache_dir, processes) if probe else None
    if probes:
        _require_disjoint(windows, probes)
    folds = _folds(windows, config.surrogate.validation_share, len(seeds), probes is not None)
    material = Material(windows, probes, config, cache_dir, on_progress)
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
    """Average (seeds, files) to (files,), over the seeds that scored a file, after removing each seed's level.

    Otherwise a file that one seed did not score would move against the others by that seed's level. File and seed
    effects are fitted by least squares; the seeds' effects have mean 0. NaN for a file that no seed scored.
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
    """Mean of Spearman's rho over pairs of rows (seeds), over files that both have; None where it is not defined."""
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
    """The files each seed holds out; none with a probe, and none for a single seed, which must score every file."""
    if has_probe or count < 2:
        return [()] * count
    return disjoint_folds(windows.groups, share, count, seed=0)


def _require_disjoint(windows: Windows, probes: Windows) -> None:
    """Require that files and probe share no id, no content and no group: a probe must not be trained on."""
    for what, mine, theirs in (("file", windows.ids, probes.ids), ("group", windows.groups, probes.groups)):
        if both := sorted(set(mine) & set(theirs)):
            raise UsageError(f"The {what} {both[0]!r} is in the files and in the probe. Take it out of one of them.")
    rows = {row.tobytes() for row in np.asarray(probes.tokens)}
    for owner, row in zip(windows.owners, windows.tokens, strict=True):
        if row.tobytes() in rows:
            raise UsageError(f"The file {windows.ids[owner]!r} is in the probe under another name. Take it out.")


def _about(windows: Windows, probes: Windows | None, config: ScoringConfig) -> dict[str, Any]:
    """How the scores were made, as plain JSON values."""
    return {
        "scoring_version": VERSION,
        "config": asdict(config),
        "tokenizer_sha256": windows.vocabulary.sha256,
        "num_windows": len(windows.owners),
        "data_sha256": windows.sha256,
        "probe": {"data_sha256": probes.sha256, "num_files": len(probes.ids)} if probes else None,
        "left_out": dict(windows.left_out) | ({f"probe: {k}": v for k, v in probes.left_out.items()} if probes else {}),
    }
