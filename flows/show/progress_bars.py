"""Progress on standard error while work runs: a line a stage, and how long all of it will take.

On a terminal the lines are bars that change in place; elsewhere they are printed when a stage is complete, and every
30 s for those that are not.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from flows.show.summaries import MAX_X_REAL_TIME, StageSpeed, WorkerSpeed

STAGE_WIDTH = 12
BAR_WIDTH = 20
LINE_EVERY_S = 30.0  # where there is no terminal, long work prints a line this often
LOOK_EVERY_S = 0.25  # whether a stage is complete

Snapshot = Callable[[], Mapping[str, StageSpeed]]
TimeLeft = Callable[[Mapping[str, StageSpeed]], tuple[float, float] | None]  # seconds at least and at most


class Progress:
    """Shows stages: those of a run that is watched, or work that is counted here by `stage` and `advance`."""

    def __init__(self, console: Console):
        self.console = console
        self._snapshot: Snapshot = dict
        self._time_left: TimeLeft = lambda stages: None
        self._counted: _Counted | None = None
        self._live: Live | None = None
        self._told: set[str] = set()  # complete stages whose line was printed
        self._printed = time.monotonic()
        self._lock = threading.Lock()

    @contextmanager
    def watch(
        self, snapshot: Snapshot, time_left: TimeLeft, sample: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Show all stages of a run while the block runs. `snapshot` and `time_left` are asked for what to show,
        `sample` is called several times a second."""
        self._snapshot, self._time_left, self._printed = snapshot, time_left, time.monotonic()
        self._told = set()
        has_ended = threading.Event()

        def look() -> None:
            while not has_ended.wait(LOOK_EVERY_S):
                with suppress(Exception):  # what only shows a build may not disturb it
                    sample()
                    self.tell()

        watcher = threading.Thread(target=look, name="progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            has_ended.set()
            watcher.join(5.0)
            self._show_nothing()
            self.tell()
            self._snapshot = dict

    def tell(self) -> None:
        """Print the lines of stages that have become complete; without a terminal also, now and then, of the others."""
        with self._lock:
            stages = self._snapshot()
            for name, stage in stages.items():
                if stage.is_complete and stage.num_expected and name not in self._told:
                    self._told.add(name)
                    self._print(_line(stage))
            self._show_bars(stages)
            if not self.console.is_terminal and time.monotonic() - self._printed > LINE_EVERY_S:
                self._printed = time.monotonic()
                self._print_running(stages)

    def _print_running(self, stages: Mapping[str, StageSpeed]) -> None:
        for stage in stages.values():
            if _is_running(stage):
                self._print(_line(stage))
        if left := self._left(stages):
            self._print(left)

    def _left(self, stages: Mapping[str, StageSpeed]) -> str:
        left = self._time_left(stages) if stages else None
        return "" if left is None else f"{'whole build':{STAGE_WIDTH}} {span(*left)} left"

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    @contextmanager
    def stage(self, name: str, num_items: int, audio_s: float, num_done: int) -> Iterator[None]:
        """Show one stage's progress while the block runs, as `advance` counts it; nothing where `num_items` is 0.

        `audio_s` is the audio to work on (0: progress counts items), `num_done` the items that were done before.
        """
        self._counted = counted = _Counted(name, num_items, audio_s, num_done)
        self._printed = time.monotonic()
        with self._lock:
            self._show_bars({})
        try:
            yield
        finally:
            self._counted = None
            if not self._snapshot():
                self._show_nothing()
        if num_items:
            self._print(_line(counted.speed()))

    def advance(self, audio_s: float, num_items: int = 1) -> None:
        """Count work of the stage as finished: seconds of audio and, by default, one item."""
        counted = self._counted
        if counted is None:
            return
        counted.num_items += num_items
        counted.audio_s += audio_s
        is_silent = self.console.is_terminal or time.monotonic() - self._printed <= LINE_EVERY_S
        if not is_silent and counted.num_items < counted.num_expected:
            self._printed = time.monotonic()
            self._print(f"{_line(counted.speed())}{counted.time_left()}")

    def _show_bars(self, stages: Mapping[str, StageSpeed]) -> None:
        is_of_use = any(map(_is_running, stages.values())) or (self._counted is not None and self._counted.num_expected)
        if self._live is None and self.console.is_terminal and is_of_use:
            self._live = Live(get_renderable=self._bars, console=self.console, transient=True, refresh_per_second=4)
            self._live.start()

    def _show_nothing(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _bars(self) -> Table:
        """What a terminal shows now: a bar for each stage that is under way, and the time that all of it will take."""
        table = Table.grid(padding=(0, 1))
        stages = self._snapshot()
        shown = [stage for stage in stages.values() if _is_running(stage)]
        if self._counted is not None and self._counted.num_expected:
            shown.append(self._counted.speed())
        for stage in shown:
            table.add_row(stage.name.ljust(STAGE_WIDTH), _bar(stage), _note(stage))
        if left := self._left(stages):
            table.add_row(left[:STAGE_WIDTH], "", left[STAGE_WIDTH:].strip())
        return table


class _Counted:
    """Work that is counted by the one who shows it."""

    def __init__(self, name: str, num_expected: int, audio_expected_s: float, num_done_before: int):
        self.name, self.num_expected, self.audio_expected_s = name, num_expected, audio_expected_s
        self.num_done_before, self.num_items, self.audio_s = num_done_before, 0, 0.0
        self.began = time.monotonic()

    def speed(self) -> StageSpeed:
        took_s = time.monotonic() - self.began
        worker = WorkerSpeed(self.num_items, self.audio_s, took_s, 0.0, 0.0)
        return StageSpeed(
            self.name, self.num_done_before, self.num_expected, self.audio_expected_s, False, 0.0, took_s, {"": worker}
        )

    def time_left(self) -> str:
        share = _share(self.speed())
        return f", {span(*[(time.monotonic() - self.began) * (1 / share - 1)] * 2)} left" if 0 < share < 1 else ""


def _is_running(stage: StageSpeed) -> bool:
    return not stage.is_complete and stage.num_expected > 0


def _share(stage: StageSpeed) -> float:
    """Which part of what is expected of a stage is done, 0 to 1."""
    if stage.audio_expected_s:
        return min(1.0, stage.audio_s / stage.audio_expected_s)
    return min(1.0, stage.num_items / max(stage.num_expected, 1))


def _bar(stage: StageSpeed) -> ProgressBar:
    return ProgressBar(total=1.0, completed=_share(stage), width=BAR_WIDTH)


def _note(stage: StageSpeed) -> str:
    speed = f", {stage.x_real_time:.1f}x real time" if 0 < (stage.x_real_time or 0) <= MAX_X_REAL_TIME else ""
    room = f" of {stage.queue_room}" if stage.queue_room else ""
    queue = f", queue {stage.queue}{room}" if stage.queue is not None and not stage.is_complete else ""
    return f"{stage.num_items}/{stage.num_expected} in {duration(stage.ended_s - stage.began_s)}{speed}{queue}"


def _line(stage: StageSpeed) -> str:
    before = f", {stage.num_done_before} done before" if stage.num_done_before else ""
    return f"{stage.name:{STAGE_WIDTH}} {_note(stage)}{before}"


class _ProgressConsole(Console):
    """Standard error. That nobody reads it any more, as after `2>&1 | head`, does not stop a build."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def progress() -> Iterator[Progress]:
    """Give the progress display of this process."""
    yield Progress(_ProgressConsole(stderr=True))


@contextmanager
def parts() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress of work in parts, one after the other. Gives a function to call with (part, done, total)."""
    with progress() as shown, ExitStack() as closing:
        name, before = "", 0

        def report(part: str, done: int, total: int) -> None:
            nonlocal name, before
            if name != part:
                closing.close()
                name, before = part, 0
                closing.enter_context(shown.stage(part, total, 0.0, 0))
            shown.advance(0.0, done - before)
            before = done

        yield report


def duration(seconds: float) -> str:
    """Format a time in seconds for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def span(low_s: float, high_s: float) -> str:
    """Format a time that is not known better than this: about 40 min; 40 min to 2 h."""
    low, high = about(low_s), about(high_s)
    return f"about {low}" if low == high else f"{low} to {high}"


def about(seconds: float) -> str:
    """Format a time that is an estimate, with no digit more than it is worth: 40 s, 3 min, 2 h 10 min, 12 days."""
    if seconds < 55:
        return f"{max(1, round(seconds)) if seconds < 10 else 5 * round(seconds / 5)} s"
    minutes = seconds / 60
    if minutes < 55:
        return f"{max(1, round(minutes)) if minutes < 10 else 5 * round(minutes / 5)} min"
    if minutes < 10 * 60:
        tens = round(minutes / 10)
        return f"{tens // 6} h {tens % 6 * 10:02d} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 72 else f"{round(hours / 24)} days"


def error(message: str) -> None:
    """Print one line on standard error."""
    with suppress(BrokenPipeError):
        print(f"aria-data: {message}", file=sys.stderr, flush=True)
