"""The demo's run: make the recordings, build a dataset, compare its notes with the notes that were played."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.midi import Note, Pedal, Performance, read_midi
from aria_data.midi.accuracy import compare_notes
from aria_data.storage import sha256_file
from flows.report import write_report

if TYPE_CHECKING:
    from aria_data.manifest import Row
    from flows.demo.recordings import DemoRecording
    from flows.show.summaries import BuildSummary

MARK = ".made-by-aria-data-demo"  # only a folder with this file in it is ever emptied
MIN_MEAN_ONSET_F1 = 0.95  # below this the demo ends with exit code 1


def run_demo(recordings_folder: Path, out: Path, build: Callable[[Path, Path], BuildSummary]) -> int:
    """Make the recordings, build the dataset at `out` and print the result of each recording. Gives the exit code.

    It is 1 where a recording's result or the mean onset F1 is not as expected, else 0. Both folders are emptied first;
    raises `UsageError` for one that holds files and was not made by the demo.
    """
    from flows import show
    from flows.demo.recordings import make_recordings

    console = Console(width=max(110, Console().width))
    began = time.monotonic()
    for folder in (recordings_folder, out):
        _empty(folder)
    console.rule("1. making recordings from public-domain scores")
    recordings = make_recordings(recordings_folder)
    for recording in recordings:
        console.print(f"  {recording.path.name}: {recording.note}", markup=False, highlight=False)
    console.rule(f"2. aria-data build {recordings_folder} --out {out}")
    summary = build(recordings_folder, out)
    show.closing_tables(summary, str(out), console)
    console.rule("3. the result of each recording")
    rows = Manifest(out).rows() if summary.version else []
    accuracies = _print_recordings(console, recordings, rows, out)
    mean = sum(accuracies) / len(accuracies) if accuracies else 0.0
    console.print(f"mean onset F1 against the scores that were played: {mean:.4f} (mir_eval, 50 ms)", highlight=False)
    console.print(f"the demo took {show.duration(time.monotonic() - began)}; its dataset is in {out}", highlight=False)
    if summary.version:
        for line in _what_to_do_next(out):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    surprises = [recording.path.name for recording in recordings if _outcome(recording, rows) != _expected(recording)]
    for name in surprises:
        console.print(f"not as expected: {name}", style="red", markup=False)
    return 1 if surprises or mean < MIN_MEAN_ONSET_F1 else 0


def _what_to_do_next(out: Path) -> list[str]:
    """Write the report, and say how it and the browser are opened, by a command that works in this shell."""
    started_as = sys.argv[0] if Path(sys.argv[0]).name == "aria-data" else "aria-data"
    command = "aria-data" if shutil.which("aria-data") else started_as
    return [
        f"look at it: open {write_report(out, out / 'report.html')} in a browser",
        f"listen to it, beside the recordings: {shlex.join([command, 'browse', str(out)])}",
    ]


def _empty(folder: Path) -> None:
    """Empty a folder that an earlier demo made. Raises `UsageError` for any other that holds files."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise UsageError(f"{folder}: is not empty and was not made by the demo. Name another folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _print_recordings(console: Console, recordings: list[DemoRecording], rows: list[Row], out: Path) -> list[float]:
    """Print a row for each segment, or recording without one; give the onset F1 where the true notes are known."""
    table = Table("recording", "in the manifest", "from - to", "composer", "notes", "onset F1")
    accuracies = []
    for recording in recordings:
        segments = _rows_of(recording, rows)
        if not segments:
            table.add_row(recording.path.name, "no", "", "", "", "")
        for row in segments:
            span = f"{row['start_s']:.0f} - {row['end_s']:.0f} s"
            cells = [
                recording.path.name,
                "yes" if row["is_cluster_lead"] else "as a copy",
                span,
                row["composer"],
                str(row["num_notes"]),
            ]
            if recording.truth is None:
                table.add_row(*cells, "")
                continue
            truth = _between(recording.truth, row["start_s"], row["end_s"])
            accuracy = compare_notes(truth, read_midi(out / row["midi_path"]))
            accuracies.append(accuracy.onset_f1)
            table.add_row(*cells, f"{accuracy.onset_f1:.4f}")
    console.print(table)
    return accuracies


def _between(truth: Performance, start_s: float, end_s: float) -> Performance:
    """Give the true notes and pedals that begin inside a segment, their times counted from the segment's start."""
    return Performance(
        [
            Note(note.onset_s - start_s, note.offset_s - start_s, note.pitch, note.velocity)
            for note in truth.notes
            if start_s <= note.onset_s < end_s
        ],
        [
            Pedal(pedal.onset_s - start_s, pedal.offset_s - start_s, pedal.controller)
            for pedal in truth.pedals
            if start_s <= pedal.onset_s < end_s
        ],
    )


def _rows_of(recording: DemoRecording, rows: list[Row]) -> list[Row]:
    sha256 = sha256_file(recording.path)
    return [row for row in rows if row["audio_sha256"] == sha256]


def _outcome(recording: DemoRecording, rows: list[Row]) -> str:
    segments = _rows_of(recording, rows)
    if not segments:
        return "not in the manifest"
    return "in the manifest" if segments[0]["is_cluster_lead"] else "as a copy"


def _expected(recording: DemoRecording) -> str:
    expected = {"kept": "in the manifest", "partly": "in the manifest", "duplicate": "as a copy"}
    return expected.get(recording.expected, "not in the manifest")
