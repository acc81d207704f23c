"""What a build shows on the page of its Prefect run: its progress while it runs, then tables and a link to the report.

Where Prefect's server cannot be had, one line of the log says so, and the build goes on.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from aria_data.errors import AriaDataError
from aria_data.pruning import Selection, report_of
from aria_data.storage import open_root
from flows.report import write_report
from flows.show.summaries import BuildSummary, Plan, StageSpeed
from flows.speed.listeners import Followed
from flows.speed.telemetry import RECORDINGS

UPDATE_EVERY_S = 5.0
MAX_ROWS = 200  # of a table: a page is for people
REPORT = "report.html"
log = logging.getLogger(__name__)


def shown(make: Callable[[], Any]) -> Any:
    """Make an artifact; None where there is no flow run, or no server that takes it."""
    if FlowRunContext.get() is None:
        return None
    try:
        return make()
    except Exception as error:  # of the network, of Prefect
        log.warning("The run's page lacks an artifact: %s", str(error).splitlines()[:1])
        return None


@contextmanager
def progress(build: Followed) -> Iterator[None]:
    """A `Listener`: shows how far a build is, for its whole time."""
    artifact: UUID | None = shown(lambda: create_progress_artifact(0.0, description=progress_text(build.snapshot())))
    if artifact is None:
        yield
        return
    ended = threading.Event()
    update = contextvars.copy_context().run  # in which Prefect knows its server
    thread = threading.Thread(target=lambda: update(_keep, artifact, build, ended), name="run page", daemon=True)
    thread.start()
    try:
        yield
        share = 100.0
    except BaseException:
        share = share_done(build.snapshot())
        raise
    finally:
        ended.set()
        thread.join(UPDATE_EVERY_S)
        _update(artifact, share, build)


def _keep(artifact: UUID, build: Followed, ended: threading.Event) -> None:
    while not ended.wait(UPDATE_EVERY_S):
        _update(artifact, share_done(build.snapshot()), build)


def _update(artifact: UUID, share: float, build: Followed) -> None:
    shown(lambda: update_progress_artifact(artifact, share, description=progress_text(build.snapshot())))


def share_done(stages: Mapping[str, StageSpeed]) -> float:
    """Percent of the recordings that have passed all stages."""
    recordings = stages.get(RECORDINGS)
    if recordings is None or not recordings.num_expected:
        return 0.0
    return min(100.0, 100.0 * recordings.num_items / recordings.num_expected)


def progress_text(stages: Mapping[str, StageSpeed]) -> str:
    """One line a stage, for people."""
    lines = []
    for one in stages.values():
        speed = f", {one.x_real_time:,.{1 if one.x_real_time < 10 else 0}f} x real time" if one.x_real_time else ""
        queue = f", {one.queue} waiting" if one.queue else ""
        if one.num_expected:
            lines.append(f"- {one.name}: {one.num_items:,} of {one.num_expected:,}{speed}{queue}")
    return "\n".join(lines) or "begins"


def show_plan(plan: Plan) -> None:
    """Show what a build would do."""
    rows = [
        {"stage": one.name, "done": one.num_done, "to do": one.num_expected, "at most": one.num_at_most}
        for one in plan.stages
    ]
    shown(lambda: create_table_artifact(rows, description="What a build would do."))


def show_result(summary: BuildSummary, out: str, address: str) -> None:
    """Show what a build gave, what it rejected, what failed, and where the report is."""
    shown(lambda: create_table_artifact(summary_rows(summary), description=f"The dataset {out} after this run."))
    tables = (
        ("Rejected, by stage and reason.", _counted(summary.rejections, "rejected")),
        ("In the manifest, but outside a subset's limits.", _counted(summary.outside_subsets, "outside")),
        ("Failed for good.", [{"failed": line} for line in summary.failures[:MAX_ROWS]]),
        ("Not done; the next run tries again.", [{"not done": line} for line in summary.not_done[:MAX_ROWS]]),
    )
    for description, rows in tables:
        if rows:
            _show_table(rows, description)
    if summary.version:
        show_report(out, address)


def _show_table(rows: Sequence[Mapping[str, Any]], description: str) -> None:
    shown(lambda: create_table_artifact([dict(row) for row in rows], description=description))


def show_report(out: str, address: str) -> None:
    """Write the dataset's report, and link to it, or name its place where no browser can read it by an address."""
    root = open_root(out)
    try:
        path = write_report(root, root / REPORT)
    except (AriaDataError, OSError) as error:
        log.warning("The report was not written: %s", error)
        return
    if address:
        link = f"{address.rstrip('/')}/{quote(REPORT)}"
        shown(lambda: create_link_artifact(link, "the report", description=f"{path}"))
    else:
        shown(lambda: create_markdown_artifact(f"The report: `{path}`", description="The report."))


def show_selection(name: str, version: int, selection: Selection) -> None:
    """Show what a selection kept."""
    report = report_of(selection)
    rows = {
        "subset": f"in_{name}",
        "version": version,
        "files": f"{len(selection.ids):,} of {len(selection.pool):,}",
        "minutes": f"{report.minutes_kept:,.1f} of {report.minutes:,.1f}",
        "notes": f"{report.num_notes_kept:,} of {report.num_notes:,}",
        "effective files, given their weights": f"{report.effective_num_files:,.1f}",
    }
    _show_table([{"what": what, "value": value} for what, value in rows.items()], "What was selected.")
    if selection.warnings:
        _show_table([{"warning": line} for line in selection.warnings], "Warnings.")


def summary_rows(summary: BuildSummary) -> list[dict[str, Any]]:
    """What is in the newest version, as rows of two columns."""
    rows: dict[str, Any] = {
        "version": f"{summary.version}{', new' if summary.is_new_version else ''}",
        "files": summary.num_files,
        "notes": summary.num_notes,
        "hours of audio": round(summary.audio_s / 3600, 2),
        **{f"files {name}": count for name, count in summary.subsets.items()},
        "failed": len(summary.failures),
        "not done": len(summary.not_done),
    }
    worked = {name: time for name, time in summary.stages.items() if time.num_worked_on}
    rows |= {f"worked on by {name}": f"{one.num_worked_on} in {one.seconds:,.0f} s" for name, one in worked.items()}
    return [{"what": what, "value": value} for what, value in rows.items()]


def _counted(counts: Mapping[str, int], what: str) -> list[dict[str, Any]]:
    return [{what: kind, "number": number} for kind, number in list(counts.items())[:MAX_ROWS]]


def in_words(summary: BuildSummary) -> str:
    """One line for the run's state."""
    said = f"version {summary.version}{' (new)' if summary.is_new_version else ''}: {summary.num_files:,} files"
    for number, what in ((len(summary.failures), "failed"), (len(summary.not_done), "not done")):
        said += f", {number} {what}" if number else ""
    return said
