"""From MIDI files and a folder of scores to beats and bars, without a dataset: `aria-data align`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aria_data.align import AlignConfig, Alignment, NotAligned, ScoreIndex, check_composition
from aria_data.align.alignment_files import write_alignment
from aria_data.align.many import Item, align_many, candidates_of
from aria_data.align.score_files import composition_of
from aria_data.align.summaries import summary_of
from aria_data.errors import MidiUnreadable, UsageError
from aria_data.midi import read_midi
from aria_data.records import SegmentAlignment
from aria_data.storage import printable
from flows.show.progress_bars import Progress

MIDI_SUFFIXES = (".mid", ".midi")


def plan(given: Sequence[Path]) -> list[Path]:
    """The MIDI files given, and those below folders, each once. Raises `UsageError` where there are none."""
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise UsageError(f"{printable(str(path))}: is not there.")
        below = (each for each in path.rglob("*") if each.suffix.lower() in MIDI_SUFFIXES and each.is_file())
        found += sorted(below) if path.is_dir() else [path]
    if not found:
        raise UsageError(f"{printable(str(given[0]))}: holds no MIDI files and is no dataset.")
    return list(dict.fromkeys(found))


def align_files(
    paths: Sequence[Path],
    index: ScoreIndex,
    config: AlignConfig,
    out: Path | None,
    num_processes: int,
    progress: Progress,
    on_error: Callable[[str], None],
) -> Iterator[SegmentAlignment]:
    """Align each file; with `out`, write its two files there. What a file's name says of the piece is its tag.

    The record's `segment_id` is the path as given. A file that cannot be read is told to `on_error`.
    """
    names = _names(paths) if out else {}
    num_processes = 1 if len(paths) < 4 and not num_processes else num_processes
    with progress.stage("align", len(paths), 0.0, 0):
        items = _items(paths, index, config, on_error)
        for item, found in align_many(items, config, num_processes):
            path, digest, tagged = item.tag
            written = _written(out, names.get(path, ""), item, found)
            check = check_composition(tagged, found, index)
            progress.advance(0.0)
            yield summary_of(str(path), digest, found, check, written)


def _items(
    paths: Sequence[Path], index: ScoreIndex, config: AlignConfig, on_error: Callable[[str], None]
) -> Iterator[Item]:
    for path in paths:
        try:
            notes = read_midi(path).notes
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (MidiUnreadable, OSError) as error:
            on_error(str(error))
            continue
        tagged = composition_of(path.name, "", "")
        yield Item((path, digest, tagged), notes, candidates_of(notes, index, tagged, config))


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file's results; those of the same stem get numbers, in order of paths."""
    names: dict[Path, str] = {}
    for path in paths:
        name, number = path.stem, 2
        while name in names.values():
            name, number = f"{path.stem}-{number}", number + 1
        names[path] = name
    return names


def _written(out: Path | None, name: str, item: Item, found: Alignment | NotAligned) -> tuple[str, str]:
    if out is None or isinstance(found, NotAligned):
        return "", ""
    beats, details = write_alignment(out, name, item.notes, found)
    return str(beats), str(details)


def print_result(found: SegmentAlignment) -> None:
    """Print a line about one performance for people."""
    name = printable(found.segment_id)
    if found.reason:
        print(f"{name}: not aligned: {found.reason} ({found.measured:.3g}){_of(found)}", flush=True)
        return
    whole = "complete" if found.is_complete_piece else "a part"
    print(
        f"{name}: {printable(found.score_id)}, bars {found.first_bar} to {found.last_bar} ({whole}), "
        f"{found.num_beats} beats, score_match {found.score_match:.3f}, confidence {found.alignment_confidence:.3f}",
        flush=True,
    )
    if found.composition_agrees is False:
        print(
            f"aria-data: {name}: its name says another piece than its notes: {found.evidence}",
            file=sys.stderr,
            flush=True,
        )


def _of(found: SegmentAlignment) -> str:
    return f", best {printable(found.score_id)}" if found.score_id else ""
