"""`DATASET/perf.json`: how fast the last builds of a dataset were, on which machine, with which code and settings.

It is written whole, again and again while a build runs, so that one that was killed is in it as well, unfinished.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.errors import DatasetError
from aria_data.storage import write_whole
from flows.show.summaries import StageSpeed
from flows.speed.machine import machine

NAME = "perf.json"
FORMAT = 1
KEPT_BUILDS = 20
WRITE_EVERY_S = 60.0
RUNNING, FINISHED = "running", "finished"


def read_builds(root: Path) -> list[dict[str, Any]]:
    """The builds that a dataset's `perf.json` tells of, oldest first; none where it is missing or damaged."""
    try:
        noted = json.loads((root / NAME).read_bytes())
        builds = noted["builds"] if noted["format"] == FORMAT else []
        return [build for build in builds if isinstance(build["stages"], list) and isinstance(build["machine"], dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@dataclass
class PerfLog:
    """The entry of one build in `perf.json`. What is asked of it is asked each time that it is written."""

    root: Path
    run_id: str
    snapshot: Callable[[], Mapping[str, StageSpeed]]
    samples: Sequence[Mapping[str, Any]]
    facts: Callable[[], Mapping[str, Any]]  # command, code, settings ...
    money: Callable[[], Sequence[Mapping[str, Any]]]
    machine_dollars: Callable[[], float | None] = lambda: None  # None: no price was named
    began_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _began: float = field(default_factory=time.monotonic)
    _written: float = -1e9
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the entry while the block runs; say afterwards whether it ended, or what stopped it."""
        self.write(RUNNING)
        try:
            yield
        except BaseException as error:
            self.write(f"stopped by {type(error).__name__}")
            raise
        self.write(FINISHED)

    def write_now_and_then(self) -> None:
        """Write the entry as it is now, if the last time was long ago."""
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Replace the entry. That it cannot be written, as on a full disk, is no reason to stop a build."""
        with self._lock:
            self._written = time.monotonic()
            others = [one for one in read_builds(self.root) if one.get("run_id") != self.run_id and _did_work(one)]
            builds = [*others[1 - KEPT_BUILDS :], self.entry(state)]
            text = json.dumps({"format": FORMAT, "builds": builds}, ensure_ascii=True, indent=1)
            try:
                write_whole(self.root / NAME, text.encode())
            except DatasetError:
                return

    def entry(self, state: str) -> dict[str, Any]:
        """The entry as plain values: times in seconds since the build began, but for `began_at`."""
        return {
            "run_id": self.run_id,
            "began_at": self.began_at,
            "state": state,
            "is_finished": state == FINISHED,
            "wall_s": round(time.monotonic() - self._began, 3),
            "machine": machine(),
            **self.facts(),
            "stages": [plain(stage) for stage in self.snapshot().values()],
            "money": list(self.money()),
            **({} if (dollars := self.machine_dollars()) is None else {"machine_dollars": round(dollars, 6)}),
            "samples": list(self.samples),
        }


def _did_work(build: Mapping[str, Any]) -> bool:
    """Whether there was anything to do. Of builds without, as those of every night, only the last is kept."""
    return any(stage.get("num_expected") for stage in build["stages"])


def plain(stage: StageSpeed) -> dict[str, Any]:
    """A stage as plain values, for JSON: what it did, and what each worker did."""
    return {
        "stage": stage.name,
        "num_done_before": stage.num_done_before,
        "num_expected": stage.num_expected,
        "num_items": stage.num_items,
        "audio_s": _rounded(stage.audio_s),
        "working_s": _rounded(stage.working_s),
        "x_real_time": _rounded(stage.x_real_time),
        "working_share": _rounded(stage.working_share),
        "began_s": _rounded(stage.began_s),
        "ended_s": _rounded(stage.ended_s),
        "num_bytes": stage.num_bytes,
        "rejected": stage.rejected,
        "failed": stage.failed,
        "not_done": stage.not_done,
        "workers": {
            name: {key: _rounded(getattr(worker, key)) for key in worker.__dataclass_fields__}
            for name, worker in stage.workers.items()
        },
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
