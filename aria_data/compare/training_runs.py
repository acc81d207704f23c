"""The training runs of a comparison: from files, weights and a seed to one loss a test file, cached on disk.

A cached result's name is a hash of everything that determines it (tokens, weights, seed, recipe, test files). So a
kill costs only the runs that were under way, and a subset added later needs only its own training runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import torch

from aria_data.storage import write_whole
from aria_data.surrogate import SurrogateConfig, Windows, forward, train
from aria_data.transcribe.base import one_thread

VERSION = 1  # raise it when the same training run would give other losses
_PROBE_STEPS, _PROBE_FILES = 10, 8


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What one training run is made from."""

    files: np.ndarray  # numbers in the pool, ascending
    weights: np.ndarray  # of `files`
    seed: int


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training run gives."""

    losses: np.ndarray  # one a test file, nats a token
    took_s: float


@dataclass(frozen=True, eq=False)
class Job:
    """A training run with everything that another process needs for it."""

    windows: Windows
    weights: np.ndarray
    seed: int
    test: Windows
    recipe: SurrogateConfig


@dataclass(frozen=True, eq=False)
class Bench:
    """What all training runs of a comparison share, and the cache of their results."""

    windows: Windows  # the pool
    test_files: np.ndarray  # numbers in the pool
    recipe: SurrogateConfig
    cache_dir: Path | None

    @cached_property
    def test(self) -> Windows:
        return _bare(self.windows, self.test_files)

    @cached_property
    def file_sha256s(self) -> list[str]:
        """A hash of each file's windows."""
        files = self.windows.examples().files()
        return [hashlib.sha256(self.windows.tokens[rows].tobytes()).hexdigest() for _, rows in files]

    def job(self, run: TrainingRun) -> Job:
        """Give the run with its windows copied, ready to be sent to another process."""
        return Job(_bare(self.windows, run.files), run.weights, run.seed, self.test, self.recipe)

    def key(self, run: TrainingRun) -> str:
        """Hash everything that determines the result. Files count by content and order, not by name."""
        device = "cuda" if self.recipe.device == "auto" and torch.cuda.is_available() else self.recipe.device
        content = [
            (VERSION, torch.__version__, self.windows.vocabulary.sha256, asdict(self.windows.config)),
            asdict(replace(self.recipe, device="cpu" if device == "auto" else device)),
            [self.file_sha256s[number] for number in run.files],
            [self.file_sha256s[number] for number in self.test_files],
            (run.weights.tolist(), run.seed),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]

    def fetch(self, key: str) -> TrainingResult | None:
        """Read a cached result; None if there is none, or it is damaged."""
        if self.cache_dir is None:
            return None
        try:
            content = json.loads((self.cache_dir / f"trial-{key}.json").read_text())
            losses = np.array([np.nan if each is None else each for each in content["losses"]], dtype=np.float64)
            result = TrainingResult(losses, float(content["took_s"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return result if losses.shape == self.test_files.shape else None

    def keep(self, key: str, result: TrainingResult) -> None:
        """Cache a result, if there is a cache. Raises `DatasetNotWritable`."""
        if self.cache_dir is not None:
            losses = [float(each) if np.isfinite(each) else None for each in result.losses]
            content = json.dumps({"losses": losses, "took_s": round(result.took_s, 3)}, allow_nan=False)
            write_whole(self.cache_dir / f"trial-{key}.json", content.encode())


def run_trainings(
    bench: Bench,
    runs: Mapping[str, TrainingRun],
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TrainingResult]:
    """Do the runs whose results are not cached, and give all results by key. `progress` gets (done, all) in runs."""
    found = kept(bench, runs)
    report = progress or (lambda done, total: None)
    report(len(found), len(runs))
    jobs = ((key, bench.job(run)) for key, run in runs.items() if key not in found)
    for key, result in list_results(jobs, min(processes, len(runs) - len(found))):
        bench.keep(key, result)
        found[key] = result
        report(len(found), len(runs))
    return found


def kept(bench: Bench, keys: Iterable[str]) -> dict[str, TrainingResult]:
    """Give the results that are cached, by key."""
    fetched = {key: bench.fetch(key) for key in keys}
    return {key: result for key, result in fetched.items() if result is not None}


def seconds_per_run(bench: Bench, files: Sequence[int] | np.ndarray) -> float:
    """Estimate the seconds of one run: time a few steps and a few test files in one thread, and scale up."""
    sample = _bare(bench.windows, np.asarray(files)[:_PROBE_FILES])
    test_sample = _bare(bench.windows, bench.test_files[:_PROBE_FILES])
    took_s = []
    with one_thread():
        for num_steps in (1, 1, 1 + _PROBE_STEPS):  # the first is not counted: it includes one-time costs
            started_s = time.monotonic()
            trained = train(sample, replace(bench.recipe, num_steps=num_steps), 0, held_out=())
            took_s.append(time.monotonic() - started_s)
        started_s = time.monotonic()
        forward.loss(trained.model, test_sample.examples())
        test_s = (time.monotonic() - started_s) * len(bench.test.owners) / len(test_sample.owners)
    return max(0.0, took_s[2] - took_s[1]) / _PROBE_STEPS * (bench.recipe.num_steps or 0) + test_s


def train_and_test(job: Job) -> TrainingResult:
    """Train in one thread, so that the result does not depend on how many runs are beside it, and test."""
    started_s = time.monotonic()
    with one_thread():
        trained = train(job.windows, job.recipe, job.seed, job.weights, held_out=())
        losses = forward.loss(trained.model, job.test.examples())
    return TrainingResult(losses, time.monotonic() - started_s)


def list_results(jobs: Iterator[tuple[str, Job]], processes: int) -> Iterator[tuple[str, TrainingResult]]:
    """Yield the result of each job, trained here or in processes. Few jobs wait in memory.

    A job is only read when a process is free.
    """
    if processes <= 1:
        yield from ((key, train_and_test(job)) for key, job in jobs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_end_with_parent) as pool:
        running: dict[Future[TrainingResult], str] = {}
        while True:
            for key, job in islice(jobs, processes - len(running)):
                running[pool.submit(train_and_test, job)] = key
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _end_with_parent() -> None:
    """End this process when its parent ends, so that a killed comparison leaves no process behind."""
    parent = parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _bare(windows: Windows, files: np.ndarray) -> Windows:
    return replace(windows.of_files(files), left_out={})
