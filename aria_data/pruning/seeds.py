"""The scores of one seed: a surrogate is trained, then scores the files. Each step is cached on disk when it is done.

A cached file's name is a hash of everything that its content depends on, and it begins with the hash of its content. So
half a file, or one of another version, counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aria_data.pruning.columns import ColumnsConfig, Snapshot, Task, columns_of
from aria_data.storage import write_whole
from aria_data.surrogate import Run, Scorable, Surrogate, SurrogateConfig, Windows, forward, train
from aria_data.surrogate.tokens import KINDS, TokenConfig
from aria_data.surrogate.training import run_bytes, run_from_bytes

VERSION = 1  # raise it when the same files would get other scores: older caches are then ignored
Progress = Callable[[str, int, int], None]  # what is done, how much, of how much


@dataclass(frozen=True)
class ScoringConfig:
    """Everything that determines the scores, besides seeds and files."""

    tokens: TokenConfig = field(default_factory=TokenConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)


@dataclass(frozen=True)
class SeedScores:
    """The scores of one seed's surrogate: one number a file in each column, NaN for files it was not trained on."""

    columns: dict[str, np.ndarray]
    facts: dict[str, Any]  # plain JSON values for `ScoreTable.about`


@dataclass(frozen=True)
class Material:
    """What all seeds share: windows, probe, settings, cache, and the callback for progress."""

    windows: Windows
    probes: Windows | None
    config: ScoringConfig
    cache_dir: Path | None
    progress: Progress


def score_seed(material: Material, seed: int, held_out: tuple[int, ...], wanted: set[str]) -> SeedScores:
    """Train and score with one seed, or take from the cache what is there. `wanted` names columns."""
    config, probes = material.config, material.probes
    run_key = _key(asdict(config.tokens), asdict(config.surrogate), material.windows.sha256, seed, held_out)
    name = f"scores-{seed}-{_key(run_key, asdict(config.columns), probes.sha256 if probes else None)}.bin"
    known = _scores_from(_fetch(material.cache_dir, name)) or SeedScores({}, {})
    missing = wanted - set(known.facts.get("asked", ()))
    if missing or not known.facts:
        run, train_s = _train_seed(material, seed, held_out, f"run-{seed}-{run_key}.bin")
        if known.facts and known.facts["weights_sha256"] != run.weights_sha256():  # another processor's training
            known, missing = SeedScores({}, {}), wanted
        known = _more_scores(material, run, known, missing, {} if train_s is None else {"train_s": train_s})
        _keep(material.cache_dir, name, _scores_bytes(known))
    return SeedScores({key: values for key, values in known.columns.items() if key in wanted}, known.facts)


def _train_seed(material: Material, seed: int, held_out: tuple[int, ...], name: str) -> tuple[Run, float | None]:
    """Give the training run and how long it took in seconds; None for the time if it was cached."""
    if (content := _fetch(material.cache_dir, name)) is not None:
        return run_from_bytes(content, material.config.surrogate), None
    started_s = time.monotonic()

    def progress(done: int, total: int) -> None:
        material.progress(f"training, seed {seed}", done, total)

    run = train(material.windows, material.config.surrogate, seed, None, progress, held_out)
    _keep(material.cache_dir, name, run_bytes(run))
    return run, round(time.monotonic() - started_s, 1)


def _more_scores(
    material: Material, run: Run, known: SeedScores, missing: Collection[str], facts: dict[str, Any]
) -> SeedScores:
    """Compute the missing columns and add them to the known ones."""
    started_s = time.monotonic()

    def progress(done: int, total: int) -> None:
        material.progress(f"scores, seed {run.seed}", done, total)

    made, warnings = columns_of(_task(material, run), missing, progress)
    score_s = known.facts.get("score_s", 0.0) + time.monotonic() - started_s
    added = {
        "warnings": sorted({*warnings, *known.facts.get("warnings", ())}),
        "asked": sorted({*missing, *known.facts.get("asked", ())}),
        "score_s": round(score_s, 1),
    }
    columns = {name: _among_all(values, material.windows, run.held_out) for name, values in made.items()}
    return SeedScores(known.columns | columns, _facts(material, run) | known.facts | facts | added)


def _kept(windows: Windows, held_out: tuple[int, ...]) -> np.ndarray:
    return np.setdiff1d(np.arange(len(windows.ids)), held_out)


def _among_all(values: np.ndarray, windows: Windows, held_out: tuple[int, ...]) -> np.ndarray:
    out = np.full(len(windows.ids), np.nan)
    out[_kept(windows, held_out)] = values
    return out


def _task(material: Material, run: Run) -> Task:
    windows, probes = material.windows, material.probes
    kept = _kept(windows, run.held_out).tolist()
    return Task(
        snapshots=[Snapshot(run.at(each), each.epoch, each.learning_rate) for each in run.checkpoints],
        examples=windows.examples(kept),
        num_classes=len(windows.vocabulary),
        probe=probes.examples() if probes else None,
        groups=[windows.groups[number] for number in kept],
        kinds=(windows.vocabulary.kinds, KINDS),
        effort_parameters=_last_block,
        config=material.config.columns,
    )


def _last_block(model: Scorable) -> Sequence[Tensor]:
    assert isinstance(model, Surrogate)
    return model.last_block()


def _facts(material: Material, run: Run) -> dict[str, Any]:
    """How this seed's scores were made, as plain JSON values."""
    probes = material.probes
    return {
        "weights_sha256": run.weights_sha256(),
        "checkpoint_epochs": [round(checkpoint.epoch, 3) for checkpoint in run.checkpoints],
        "num_steps": run.checkpoints[-1].step,
        "held_out": [material.windows.ids[number] for number in run.held_out],
        "probe_loss": float(np.nanmean(forward.loss(run.model, probes.examples()))) if probes else None,
        "history": [
            {key: value if math.isfinite(value) else None for key, value in line.items()} for line in run.history
        ],
        "device": str(next(run.model.parameters()).device),
    }


def _key(*values: Any) -> str:
    return hashlib.sha256(json.dumps([VERSION, *values], sort_keys=True, default=list).encode()).hexdigest()[:16]


def _keep(folder: Path | None, name: str, content: bytes) -> None:
    if folder is not None:
        write_whole(folder / name, hashlib.sha256(content).digest() + content)


def _fetch(folder: Path | None, name: str) -> bytes | None:
    """Read the cached content of this name; None if there is none, or it is damaged."""
    if folder is None or not (folder / name).is_file():
        return None
    content = (folder / name).read_bytes()
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _scores_bytes(found: SeedScores) -> bytes:
    out = io.BytesIO()
    np.savez(out, _facts=np.array(json.dumps(found.facts)), **found.columns)  # type: ignore[arg-type]
    return out.getvalue()


def _scores_from(content: bytes | None) -> SeedScores | None:
    if content is None:
        return None
    with np.load(io.BytesIO(content)) as kept:
        columns = {name: kept[name] for name in kept.files if name != "_facts"}
        return SeedScores(columns, json.loads(str(kept["_facts"])))
