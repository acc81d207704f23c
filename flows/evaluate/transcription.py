"""Accuracy of a folder of transcribed .mid files against a folder of true ones: `aria-data evaluate transcription`."""

from __future__ import annotations

import math
import sys
import unicodedata
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aria_data.errors import MidiUnreadable, UsageError
from aria_data.midi import Performance, read_midi
from aria_data.midi.accuracy import NoteAccuracy, compare_notes
from aria_data.storage import printable

MIDI_SUFFIXES = (".mid", ".midi")
MAX_WIDTH = 160  # where there is no terminal
CONVENTIONS = """\
F1 of mir_eval, matched one to one by pitch; the mean is over files.
onset           the key strike within 50 ms
onset+offset    and the sounding end within 50 ms or 20 % of the length: key releases extended by the sustain pedal
onset+release   and the key release as written, without pedal extension, by the same tolerance
onset+velocity  the onset, and the velocity within 0.1 of the range after the best linear fit
pedal           presses of the sustain pedal (CC 64) within 50 ms of going down; +offset: and of going up"""
SHOWN = {
    "onset": "onset_f1",
    "onset+offset": "onset_offset_f1",
    "onset+release": "onset_release_f1",
    "onset+velocity": "onset_velocity_f1",
    "pedal": "pedal_f1",
    "pedal+offset": "pedal_offset_f1",
}


def compare_folders(reference: Path, estimate: Path) -> tuple[dict[str, NoteAccuracy], dict[str, str]]:
    """Compare the files of equal stem. A missing or unreadable estimate counts as one without notes.

    Gives (accuracy by stem, message by stem for files that are missing or cannot be read). Raises `UsageError` where a
    folder is missing or no file has a partner.
    """
    references, estimates = _midi_files(reference), _midi_files(estimate)
    if not set(references) & set(estimates):
        raise UsageError(
            f"no .mid in {printable(str(reference))} has the name of one in {printable(str(estimate))}; "
            "files are compared with those of the same name."
        )
    accuracies: dict[str, NoteAccuracy] = {}
    wrong: dict[str, str] = {}
    for stem, path in references.items():
        try:
            truth = read_midi(path)
        except MidiUnreadable as error:
            wrong[stem] = f"{error} It is left out."
            continue
        accuracies[stem], message = _compare(stem, truth, estimates.get(stem))
        if message:
            wrong[stem] = message
    return accuracies, wrong


def _compare(stem: str, truth: Performance, path: Path | None) -> tuple[NoteAccuracy, str]:
    """Compare one estimate. Gives (accuracy, what is wrong with the estimate, which then has no notes)."""
    if path is None:
        return compare_notes(truth, Performance()), f"{printable(stem)}: has no estimate, which counts as 0."
    try:
        return compare_notes(truth, read_midi(path)), ""
    except MidiUnreadable as error:
        return compare_notes(truth, Performance()), f"{error} It counts as 0."
    except (ValueError, ArithmeticError, MemoryError, RecursionError) as error:  # of what matches notes
        message = f"{printable(str(path), 1000)}: cannot be compared ({type(error).__name__}). It counts as 0."
        return compare_notes(truth, Performance()), message


def _midi_files(folder: Path) -> dict[str, Path]:
    """The .mid files by stem. Stems are compared as Unicode does, accents in one character or in two (NFC, NFD)."""
    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))}: is not a folder. Name a folder with .mid files.")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MIDI_SUFFIXES]
    return {unicodedata.normalize("NFC", path.stem): path for path in paths}


def means(accuracies: dict[str, NoteAccuracy]) -> dict[str, float | None]:
    """Give the mean of each field of `NoteAccuracy` over the files where it is defined; None where it never is."""
    result: dict[str, float | None] = {}
    for field in fields(NoteAccuracy):
        values = np.array([getattr(accuracy, field.name) for accuracy in accuracies.values()], dtype=float)
        values = values[np.isfinite(values)]
        result[field.name] = float(values.mean()) if len(values) else None
    return result


def print_table(accuracies: dict[str, NoteAccuracy]) -> None:
    """Print a row for each file, the means, and what the columns mean."""
    console = Console(soft_wrap=True, emoji=False, markup=False, width=None if sys.stdout.isatty() else MAX_WIDTH)
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    for name in ("notes", "transcribed", *SHOWN):
        table.add_column(name, justify="right", min_width=len(name), no_wrap=True)
    for stem, accuracy in accuracies.items():
        values = [_cell(getattr(accuracy, field)) for field in SHOWN.values()]
        table.add_row(Text(printable(stem, 48)), str(accuracy.num_reference), str(accuracy.num_estimate), *values)
    mean = means(accuracies)
    table.add_row("mean", "", "", *(_cell(mean[field]) for field in SHOWN.values()), style="bold")
    console.print(table)
    console.print(f"\n{CONVENTIONS}", highlight=False)


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def as_json(accuracies: dict[str, NoteAccuracy]) -> dict[str, object]:
    """Give the results as plain values; undefined measures are None."""
    files = {
        stem: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for stem, row in ((stem, asdict(accuracy)) for stem, accuracy in accuracies.items())
    }
    return {"files": files, "mean": means(accuracies)}
