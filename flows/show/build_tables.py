"""The closing tables of a build, on standard output. Progress while it runs is in `progress_bars`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flows.show.progress_bars import duration
from flows.show.summaries import MAX_X_REAL_TIME, BuildSummary

MAX_LINES = 20  # of each closing list; the dataset's tables hold all


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
    _print_lines(console, "look out", summary.warnings)
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
        rate = stage.audio_s / stage.seconds if stage.seconds else 0.0
        speed = f"{rate:.1f}" if 0 < rate <= MAX_X_REAL_TIME else ""
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
