"""How a plan is printed: a table of 80 columns, then time, money and what the numbers are based on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from aria_data.storage import printable
from flows.show.progress_bars import about, duration, span
from flows.show.summaries import Plan, PlannedStage

WIDTH = 80  # also where no terminal says how wide it is


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print what a build would do, and what it would take."""
    console = console or Console()
    narrow = Console(file=console.file, width=WIDTH, force_terminal=console.is_terminal, no_color=console.no_color)
    narrow.print(_stages(plan))
    for line in _lines(plan):
        narrow.print(line, markup=False, highlight=False)


def _stages(plan: Plan) -> Table:
    table = Table("stage", "done", "to do", "audio to work on", "time", "at most", title="plan (nothing was done)")
    table.title_justify = "left"
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in plan.stages:
        table.add_row(*_row(stage))
    return table


def _row(stage: PlannedStage) -> tuple[str, ...]:
    sign = "about " if stage.estimate else ""
    audio = duration(stage.audio_expected_s) if stage.audio_expected_s else ""
    took = "" if not stage.num_expected else "not known" if stage.seconds is None else about(stage.seconds)
    most = f"{stage.num_at_most:,}" if stage.num_at_most != stage.num_expected else ""
    if most and stage.audio_at_most_s > stage.audio_expected_s:
        most = about(stage.audio_at_most_s)
    return stage.name, f"{stage.num_done:,}", f"{sign}{stage.num_expected:,}", audio, took, most


def _lines(plan: Plan) -> list[str]:
    lines = [printable(line) for line in plan.left_out]
    if not plan.is_anything_to_do:
        return [*lines, "Nothing is to be done: every result is there."]
    lines += [f"On {plan.machines}: {_time(plan)}."]
    if plan.dollars_machines is not None:
        lines.append(f"Machines: {_money(plan.dollars_machines)}, at the price an hour that was named.")
    lines += [f"Language model, {line}" for line in plan.models]
    for basis in dict.fromkeys(stage.estimate for stage in plan.stages if stage.estimate and stage.num_at_most):
        lines.append(f"'about' is an estimate by {basis}; 'at most', if all that may be piano is piano.")
    lines += plan.remarks
    return [*lines, *_bases(plan)]


def _time(plan: Plan) -> str:
    if plan.seconds is None or plan.seconds_low is None or plan.seconds_high is None:
        unknown = [one.name for one in plan.stages if one.num_expected and one.seconds is None]
        rest = sum(one.seconds or 0.0 for one in plan.stages)
        return (
            f"the speed of {', '.join(unknown)} was never measured with these settings, so no time can be told; "
            f"all other stages take about {about(rest)}"
        )
    most = plan.seconds_at_most
    is_more = most is not None and most > 1.5 * plan.seconds_high
    return f"about {about(plan.seconds)} ({span(plan.seconds_low, plan.seconds_high)})" + (
        f", at most {about(most)}" if is_more and most else ""
    )


def _bases(plan: Plan) -> list[str]:
    """Where speeds were measured, one line a place."""
    of: dict[str, list[str]] = {}
    for stage in plan.stages:
        if stage.num_at_most and stage.basis:
            of.setdefault(stage.basis, []).append(stage.name)
    return [f"Speed of {', '.join(names)}: {basis}." for basis, names in of.items()]


def _money(dollars: float) -> str:
    return f"{dollars:,.2f}" if dollars >= 0.01 or not dollars else "less than 0.01"
