"""The display of a build: progress on standard error while it runs, closing tables on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from aria_data.storage import printable
from flows.show.summaries import BuildSummary

STAGE_WIDTH = 12
LINE_EVERY_S = 30.0  # where there is no terminal, long work prints a line this often
MAX_LINES = 20  # of each closing list; the dataset's tables hold all


class Progress:
    """Progress of one stage at a time: items, x real time, time left. Plain lines where there is no terminal."""

    def __init__(self, console: Console):
        self.console = console
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._name, self._began, self._audio_s, self._items, self._printed = "", 0.0, 0.0, 0, 0.0
        self._num_items, self._total_s = 0, 0.0

    @contextmanager
    def stage(self, name: str, num_items: int, audio_s: float, num_done: int) -> Iterator[None]:
        """Show one stage's progress while the block runs; nothing where `num_items` is 0.

        `audio_s` is the audio to work on (0: progress counts items), `num_done` the items that were done before.
        """
        self._name, self._num_items, self._total_s = name, num_items, audio_s
        self._began = self._printed = time.monotonic()
        self._audio_s, self._items = 0.0, 0
        if num_items and self.console.is_terminal:
            self._bar = self._make_bar()
            self._task = self._bar.add_task(name.ljust(STAGE_WIDTH), total=audio_s or num_items, note=self._note())
            self._bar.start()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
        if num_items:
            before = f", {num_done} done before" if num_done else ""
            self.console.print(f"{name:{STAGE_WIDTH}} {self._note()}{before}", highlight=False)

    def _make_bar(self) -> RichProgress:
        return RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
        )

    def advance(self, audio_s: float, num_items: int = 1) -> None:
        """Count work as finished: seconds of audio and, by default, one item."""
        self._items += num_items
        self._audio_s += audio_s
        if self._bar is not None:
            self._bar.update(self._task, advance=audio_s if self._total_s else num_items, note=self._note())
        elif time.monotonic() - self._printed > LINE_EVERY_S and self._items < self._num_items:
            self._printed = time.monotonic()
            self.console.print(f"{self._name:{STAGE_WIDTH}} {self._note()}{self._time_left()}", highlight=False)

    def _note(self) -> str:
        elapsed = max(time.monotonic() - self._began, 1e-9)
        speed = f", {self._audio_s / elapsed:.1f}x real time" if self._audio_s else ""
        return f"{self._items}/{self._num_items} in {duration(elapsed)}{speed}"

    def _time_left(self) -> str:
        share = self._audio_s / self._total_s if self._total_s else self._items / max(self._num_items, 1)
        return f", about {duration((time.monotonic() - self._began) * (1 / share - 1))} left" if 0 < share < 1 else ""


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


def closing_tables(summary: BuildSummary, out: str, console: Console | None = None) -> None:
    """Print the result of a build: what was kept, what was rejected and why, times and speeds, the next commands."""
    console = console or Console(soft_wrap=True, emoji=False)
    console.print(_kept(summary))
    if summary.rejections:
        console.print(_counts("rejected", "stage: reason", summary.rejections))
    if summary.outside_subsets:
        console.print(_counts("in the manifest, outside a subset", "subset: reason", summary.outside_subsets))
    console.print(_stage_times(summary))
    not_done = ("not done; the same command tries again", summary.not_done)
    for title, lines in (("odd, but read", summary.notes), ("failed", summary.failures), not_done):
        _print_lines(console, title, lines)
    if summary.left_aside:
        endings = ", ".join(f"{count} {ending}" for ending, count in list(summary.left_aside.items())[:8])
        console.print(f"skipped, not audio by file name: {endings}", markup=False)
    if summary.candidates:
        console.print(f"candidates: {summary.candidates}", highlight=False)
        console.print(f"segments:   {summary.segments}", highlight=False)
    console.print(_ending(summary, out), markup=False, highlight=False)


def _kept(summary: BuildSummary) -> Table:
    table = Table(title="the dataset", title_justify="left", show_header=False)
    table.add_row("MIDI files", f"{summary.num_files:,}")
    table.add_row("hours", f"{summary.audio_s / 3600:.2f}")
    table.add_row("notes", f"{summary.num_notes:,}")
    for subset, count in summary.subsets.items():
        table.add_row(subset, f"{count:,}")
    return table


def _counts(title: str, heading: str, counted: dict[str, int]) -> Table:
    table = Table(heading, "items", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for reason, count in counted.items():
        table.add_row(reason, f"{count:,}")
    return table


def _stage_times(summary: BuildSummary) -> Table:
    table = Table("stage", "done before", "worked on", "time", "x real time", title="stages", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, stage in summary.stages.items():
        speed = f"{stage.audio_s / stage.seconds:.1f}" if stage.audio_s and stage.seconds else ""
        table.add_row(name, f"{stage.num_done_before:,}", f"{stage.num_worked_on:,}", duration(stage.seconds), speed)
    return table


def _print_lines(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(f"{title} ({len(lines)}):")
    for line in lines[:MAX_LINES]:
        console.print(f"  {line}", markup=False, highlight=False)
    if len(lines) > MAX_LINES:
        console.print(f"  ... and {len(lines) - MAX_LINES} more, in the dataset's table `rejections`")


def _ending(summary: BuildSummary, out: str) -> str:
    if summary.version == 0:
        return f"Nothing usable was found, so {out} has no version. The lists above say why."
    state = "is new" if summary.is_new_version else "stands: nothing changed"
    return (
        f'Version {summary.version} {state}. Next: aria-data query {out} "audio_score > 0.9" | '
        f"aria-data versions {out} | aria-data rejections {out}"
    )


def plan_table(summary: BuildSummary, console: Console | None = None) -> None:
    """Print what a build would do. Later stages work on results of earlier ones, so their counts are lower bounds."""
    console = console or Console()
    table = Table("stage", "done", "to do", "audio to work on", title="plan (nothing was done)", title_justify="left")
    unknown = False
    for name, stage in summary.stages.items():
        at_least = "at least " if unknown and name != "collect" else ""
        table.add_row(name, f"{stage.num_done_before:,}", f"{at_least}{stage.num_worked_on:,}", duration(stage.audio_s))
        unknown = unknown or (name != "collect" and stage.num_worked_on > 0)
    console.print(table)
    for line in summary.failures:
        console.print(printable(line), markup=False, highlight=False)


def error(message: str) -> None:
    """Print one line on standard error."""
    with suppress(BrokenPipeError):
        print(f"aria-data: {message}", file=sys.stderr, flush=True)
