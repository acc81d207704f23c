"""Exclusion lists: the contents of a benchmark, so that no training split contains what the benchmark tests on.

A list is one JSON file with the benchmark's compositions and, if its files were available, the notes of each
performance, by which the same performance is found under any title. Splits are decided in `release.py`.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.deduplicate import NoteIndex, NoteIndexConfig, Notes
from aria_data.deduplicate.note_index import is_same
from aria_data.errors import ConfigInvalid
from aria_data.midi import read_midi
from aria_data.repertoire.wholes import is_in_range, is_range
from aria_data.storage import printable, write_whole

FORMAT = "aria-data exclusion list 1"
WAYS = ("composition", "notes", "both")
MAX_FILE_BYTES = 1 << 30  # MAESTRO with all its notes takes some 20 MB
MAX_NOTES = 1_000_000  # of one performance
MAX_TEXT_CHARS = 2000
BYTES_PER_NOTE = 5  # uncompressed: uint32 ms since the note before, uint8 pitch
BATCH = 1000  # segments searched at once
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HOBOKEN = re.compile(r"hob[a-z]+:")  # the only catalogue whose numbers contain a colon
_PIECE = re.compile(r"([a-z]*[0-9]+[a-z]*)-[0-9]+[a-z]*")  # `op28-4`, and not `suite-bergamasque`


@dataclass(frozen=True, slots=True)
class Titled:
    """One performance of a benchmark, as the benchmark describes it."""

    name: str  # shown to people: its path inside the benchmark
    title: str
    composer: str = ""
    midi_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Performed:
    """The notes of one performance."""

    name: str
    notes: Notes


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The exclusion list of one benchmark."""

    name: str
    source: str  # where the benchmark comes from, in words
    made_from: str  # what the list was made from, and how
    num_titles: int
    num_unnamed: int  # titles whose composition is not known: excluded by their notes or not at all
    composition_ids: tuple[str, ...]  # sorted
    performances: tuple[Performed, ...] = ()

    def save(self, path: Path) -> None:
        """Write the list, whole or not at all. Raises `DatasetNotWritable`."""
        values = {field: getattr(self, field) for field in ("name", *_TEXTS, *_COUNTS, "composition_ids")}
        notes = [{"name": each.name, **_packed(each.notes)} for each in self.performances]
        text = json.dumps({"format": FORMAT, **values, "performances": notes}, ensure_ascii=False, indent=1)
        write_whole(path, f"{text}\n".encode())

    @classmethod
    def load(cls, path: Path) -> Exclusion:
        """Read a list, without trusting it. Raises `ConfigInvalid`, in one line, for a file that is no valid list."""
        try:
            file = path.stat()
            if not stat.S_ISREG(file.st_mode):  # reading a device or a pipe might never end
                raise OSError(errno.EINVAL, "it is no regular file")
            if file.st_size > MAX_FILE_BYTES:
                raise ValueError(f"more than {MAX_FILE_BYTES >> 20} MiB")
            return _exclusion_of(json.loads(path.read_bytes()))
        except OSError as error:
            raise ConfigInvalid(f"{printable(str(path))}: cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
            raise ConfigInvalid(
                f"{printable(str(path))}: is no exclusion list ({printable(str(error))}). "
                "Make it with `aria-data exclude`."
            ) from error


_TEXTS = ("source", "made_from")
_COUNTS = ("num_titles", "num_unnamed")


def find_exclusion(name: str) -> Exclusion:
    """Load a list by its name, such as `asap-compositions`, if it is part of this package, else by its path.

    Raises `ConfigInvalid` for an unknown name and for a file that is not a valid list.
    """
    shipped = resources.files("manifests").joinpath("exclusions")
    if _NAME.fullmatch(name) and (file := shipped.joinpath(f"{name}.json")).is_file():
        with resources.as_file(file) as path:
            return Exclusion.load(path)
    if not os.path.exists(name):  # not Path.exists, which raises for a name that is too long
        known = sorted(each.name.removesuffix(".json") for each in shipped.iterdir() if each.name.endswith(".json"))
        raise ConfigInvalid(f"{printable(name)}: is no file and no known exclusion list. Known: {', '.join(known)}.")
    return Exclusion.load(Path(name))


def make_exclusion(
    name: str,
    titled: Iterable[Titled],
    composition_of: Callable[[Titled], str],
    source: str = "",
    made_from: str = "",
    read: Callable[[Path], Notes | None] | None = None,
) -> Exclusion:
    """Make a list of a benchmark's performances; without `read`, of their compositions only.

    `composition_of` gives a title's composition_id, or "" if it is not known. `read` gives the notes of a file, or None
    to leave them out. Raises `ConfigInvalid` for a bad name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigInvalid(f"{printable(name)!r}: is no name for a list. Use a-z, 0-9, dot, hyphen: maestro, my-test.")
    found: list[str] = []
    performances: list[Performed] = []
    for one in titled:
        found.append(composition_of(one))
        notes = read(one.midi_path) if read and one.midi_path else None
        if notes is not None:
            performances.append(Performed(printable(one.name), notes))
    known = tuple(sorted({each for each in found if each}))
    return Exclusion(name, source, made_from, len(found), found.count(""), known, tuple(performances))


def notes_in(path: Path) -> Notes:
    """Read the notes of a MIDI file, as an index compares them. Raises `MidiUnreadable`."""
    notes = read_midi(path).notes
    return Notes.of([note.onset_s for note in notes], [note.pitch for note in notes])


def excluded_by(
    exclusions: Sequence[Exclusion],
    segments: Iterable[tuple[str, str, Path]],
    by: str = "both",
    config: NoteIndexConfig | None = None,
    read: Callable[[Path], Notes | None] = notes_in,
) -> dict[str, str]:
    """Find the segments that a list excludes, and give the reason by segment_id.

    A reason is "maestro: composition chopin:op28-4" or "asap: notes of Bach/Fugue/bwv_846/Shi05M.mid". `segments` are
    (segment_id, composition_id, MIDI path). `by` is one of `WAYS`. A composition is also excluded if the list has the
    whole work or the set that it is part of, or a part of it. With "both", notes are compared for the remaining
    segments only. `read` may give None for a file that is not available. Raises `ConfigInvalid` for another `by`.
    """
    if by not in WAYS:
        raise ConfigInvalid(f"by: {by!r} is none of {', '.join(WAYS)}.")
    reasons: dict[str, str] = {}
    rest: list[tuple[str, Path]] = []
    named = _Compositions(exclusions)
    for segment_id, composition_id, path in segments:
        if by != "notes" and (reason := named.reason_of(composition_id)):
            reasons[segment_id] = reason
        else:
            rest.append((segment_id, path))
    if by != "composition":
        reasons |= _by_notes(exclusions, rest, config or NoteIndexConfig(), read)
    return reasons


# ---------------------------------------------------------------- compositions


def wholes_of(composition_id: str) -> Iterator[str]:
    """Yield the works and sets that a movement or a piece is part of: `chopin:op28-4` -> `chopin:op28`."""
    composer_id, _, code = composition_id.partition(":")
    catalogue = match[0] if (match := _HOBOKEN.match(code)) else ""
    work, _, movement = code.removeprefix(catalogue).partition(":")
    if movement:
        yield f"{composer_id}:{catalogue}{work}"
    if piece := _PIECE.fullmatch(work):
        yield f"{composer_id}:{catalogue}{piece[1]}"


class _Compositions:
    """The compositions of some lists, and the works that they are part of. If several lists match, the first counts."""

    def __init__(self, exclusions: Iterable[Exclusion]):
        self._named: dict[str, str] = {}  # composition_id -> the list's name
        self._part_of: dict[str, tuple[str, str]] = {}  # work -> (list's name, a part of it that the list has)
        for exclusion in exclusions:
            for composition_id in exclusion.composition_ids:
                self._named.setdefault(composition_id, exclusion.name)
                for whole in wholes_of(composition_id):
                    self._part_of.setdefault(whole, (exclusion.name, composition_id))

    def reason_of(self, composition_id: str) -> str:
        if not composition_id:
            return ""
        for each in (composition_id, *wholes_of(composition_id)):
            if name := self._named.get(each):
                return f"{name}: composition {each}"
        name, part = self._part_of.get(composition_id) or self._listed_in(composition_id)
        return f"{name}: composition {part}" if name else ""

    def _listed_in(self, composition_id: str) -> tuple[str, str]:
        """The list's name and its first composition in a range such as `bach:bwv846-869`; empty if there is none."""
        if not is_range(composition_id.partition(":")[2]):
            return "", ""
        parts = ((name, each) for each, name in self._named.items() if is_in_range(each, composition_id))
        return next(parts, ("", ""))


# ---------------------------------------------------------------- notes


def _by_notes(
    exclusions: Sequence[Exclusion],
    segments: Sequence[tuple[str, Path]],
    config: NoteIndexConfig,
    read: Callable[[Path], Notes | None],
) -> dict[str, str]:
    performances = [(list_.name, one) for list_ in exclusions for one in list_.performances]
    if not performances or not segments:
        return {}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        index = NoteIndex(config)
        index.add((f"known {number}", one.notes) for number, (_, one) in enumerate(performances))
        index.save(Path(folder))
        for first in range(0, len(segments), BATCH):
            notes = ((f"segment {each}", read(path)) for each, path in segments[first : first + BATCH])
            searched = NoteIndex.open(Path(folder), config)  # the lists' patterns are computed only once
            searched.add((each, found) for each, found in notes if found is not None)
            for segment_id, number in _same(searched, len(performances)):
                name, one = performances[number]
                reasons.setdefault(segment_id, f"{name}: notes of {one.name}")
    return reasons


def _same(index: NoteIndex, num_known: int) -> Iterator[tuple[str, int]]:
    """Yield (segment_id, number of a known performance) for those that are the same performance, sorted by number."""
    ids = index.ids
    for known, other in index.candidates(num_known).tolist():
        if known < num_known and is_same(index.compare(ids[known], ids[other]), index.config):
            yield ids[other].removeprefix("segment "), known


# ---------------------------------------------------------------- the file


def _packed(notes: Notes) -> dict[str, Any]:
    steps = np.diff(notes.onset_ms.astype(np.int64), prepend=0).astype("<u4")
    content = steps.tobytes() + notes.pitch.astype(np.uint8).tobytes()
    return {"num_notes": len(notes), "notes": base64.b64encode(zlib.compress(content)).decode()}


def _unpacked(num_notes: int, text: str) -> Notes:
    size = BYTES_PER_NOTE * num_notes
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"notes that cannot be unpacked: {error}") from error
    if len(content) != size:
        raise ValueError(f"notes that are not the {num_notes} announced")
    onset_ms = np.cumsum(np.frombuffer(content, "<u4", num_notes).astype(np.int64))
    pitch = np.frombuffer(content, np.uint8, num_notes, 4 * num_notes)
    if num_notes and (onset_ms[-1] >= 2**32 or pitch.max() > 127):
        raise ValueError("notes beyond what MIDI has")
    return Notes(onset_ms.astype(np.uint32), pitch)


def _exclusion_of(values: Any) -> Exclusion:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f'"format" is not "{FORMAT}"')
    ids, performances = _part(values, "composition_ids", list), _part(values, "performances", list)
    name = _text(values, "name")
    if not _NAME.fullmatch(name):
        raise ValueError('"name" has other characters than a-z, 0-9, dot and hyphen')
    if not all(isinstance(each, str) and 0 < len(each) <= MAX_TEXT_CHARS and each.isprintable() for each in ids):
        raise ValueError('"composition_ids" are not all ids')
    source, made_from = (_text(values, field) for field in _TEXTS)
    num_titles, num_unnamed = (_count(values, field) for field in _COUNTS)
    kept = tuple(_performed_of(each) for each in performances)
    return Exclusion(name, source, made_from, num_titles, num_unnamed, tuple(sorted(set(ids))), kept)


def _performed_of(values: Any) -> Performed:
    if not isinstance(values, dict):
        raise ValueError('"performances" are not all objects')
    num_notes = _count(values, "num_notes")
    if num_notes > MAX_NOTES:
        raise ValueError(f"{num_notes} notes in one performance")
    return Performed(printable(_text(values, "name")), _unpacked(num_notes, _part(values, "notes", str)))


def _part(values: Mapping[str, Any], field: str, kind: type) -> Any:
    if not isinstance(values.get(field), kind):
        raise ValueError(f'"{field}" is missing or not a {kind.__name__}')
    return values[field]


def _text(values: Mapping[str, Any], field: str) -> str:
    return printable(_part(values, field, str), MAX_TEXT_CHARS)


def _count(values: Mapping[str, Any], field: str) -> int:
    number = _part(values, field, int)
    if isinstance(number, bool) or number < 0:
        raise ValueError(f'"{field}" is no count')
    return number
