"""The other side of `flows.executors.assignments` with the stand-ins of `fakes`: what a worker calls in tests.

Marks in the folder of the environment variable MARKS tell it to die: a file named as the item that it begins, with the
number of deaths that are left; "load" for its start, "stage NAME". "clock" has seconds by which clocks are wrong. Each
assignment leaves its process's id there.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fakes import FakeTranscriber, use_fakes

from flows.engine.context import BuildContext
from flows.executors import assignments, parcels, ray_side
from flows.executors.assignments import Assignment, Begun, Rest


class _Setter:
    setattr = staticmethod(setattr)


def work_off(send: Callable[[Any], None], assignment: Assignment) -> Rest:
    """Do as the real one does, but die where a mark says so."""
    use_fakes(_Setter)
    marks = Path(os.environ["MARKS"])
    (marks / f"pid {os.getpid()}").touch()
    if (marks / "clock").exists():
        set_clock(float((marks / "clock").read_text()))

    def watched(message: Any) -> None:
        send(message)
        if isinstance(message, Begun):
            time.sleep(0.15 * float(os.environ.get("SLOW", 0)))
            die_at(marks / message.item_id)

    die_at(marks / "load")
    die_at(marks / f"stage {assignment.stage}")
    return assignments.work_off(watched, assignment)


def set_clock(wrong_by_s: float) -> None:
    """Have this process's clock be wrong, as far as Python asks it."""
    if time.time is _true_time:
        time.time = lambda: _true_time() + wrong_by_s


_true_time = time.time
_own = vars(BuildContext)["transcriber"], vars(BuildContext)["transcriber_sha256"]


def work_off_with_weights(send: Callable[[Any], None], assignment: Assignment) -> Rest:
    """As `work_off`, but the transcriber is loaded from its checkpoint; what was loaded is left in a mark."""
    from aria_data.transcribe import backends

    def load(config: Any, compute: Any) -> Any:
        sha256 = backends.weights_sha256(config)
        (Path(os.environ["MARKS"]) / f"weights {os.getpid()}").write_text(f"{sha256} {config.checkpoint}")
        loaded = FakeTranscriber()
        loaded.sha256 = sha256
        return loaded

    use_fakes(_Setter)
    BuildContext.transcriber, BuildContext.transcriber_sha256 = _own
    backends.load = load
    return assignments.work_off(send, assignment)


def load(send: Callable[[Any], None], setup: assignments.Setup) -> None:
    """Load nothing."""


def die_at(mark: Path) -> None:
    """End this process if the mark has deaths left."""
    if mark.exists() and (num_left := int(mark.read_text())):
        mark.write_text(str(num_left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def work_elsewhere(send: Callable[[Any], None], *arguments: Any) -> Rest:
    """What the process calls that talks to Ray, as if its files lay on another machine than the workers'."""
    if parcels.PART > 100_000:
        parcels.PART = 100_000  # several parts a file
        parcels.Label.of, parcels._parts = classmethod(_label_of_elsewhere), _parts_from_here
    return ray_side.work(send, *arguments)


ELSEWHERE = "/nowhere"
_label_of, _parts = parcels.Label.of.__func__, parcels._parts


def _label_of_elsewhere(cls: type, path: Path) -> parcels.Label | None:
    label = _label_of(cls, path)
    return label and parcels.Label(ELSEWHERE + label.path, label.num_bytes, label.modified_ns)


def _parts_from_here(label: parcels.Label) -> Iterator[tuple[int, bytes]]:
    path = label.path.removeprefix(ELSEWHERE)
    (Path(os.environ["MARKS"]) / f"sent {Path(path).name}").touch()
    return _parts(parcels.Label(path, label.num_bytes, label.modified_ns))
