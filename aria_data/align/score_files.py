"""Read score files: MusicXML, MIDI, Humdrum, MEI, by partitura. A file is hostile or odd until it was read.

partitura opens the file, so nothing else is given to it than a copy of what was checked here: its size, its ending and,
of a compressed MusicXML, what it unpacks to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.align.notation import read_notation
from aria_data.align.scores import Score
from aria_data.annotate import annotate
from aria_data.errors import PermanentError, UsageError
from aria_data.midi.midi_events import NOTE_ON, MidiFile, parse
from aria_data.repertoire.wholes import is_range
from aria_data.storage import printable

MAX_FILE_BYTES = 64 << 20  # the MusicXML of an opera's vocal score has 40 MB
XML, MIDI, HUMDRUM, MEI = "xml", "mid", "krn", "mei"
KINDS = {
    ".musicxml": XML, ".xml": XML, ".mxl": XML, ".mid": MIDI, ".midi": MIDI, ".krn": HUMDRUM, ".kern": HUMDRUM,
    ".mei": MEI,
}  # fmt: skip
GRID_STEPS, GRID_TOLERANCE = 24, 0.06  # of a quarter note, of a step: by chance 12 % of notes are that near
MIN_ON_GRID, MIN_TOGETHER = 0.25, 0.25  # of ASAP's 111 scores one has less of the first, none of both; performances all
_PLAIN_NAMES = re.compile(r"(xml|midi)?[_ -]*score", re.IGNORECASE)  # which say nothing of the piece
_UNFOLDED = re.compile(r"[_ ]no([_ ]\d+)?[_ ]repeat$")  # how ASAP marks a score without its repeats
MAX_QUARTERS = 50_000  # the longest works for piano have 15,000
MAX_NOTE_QUARTERS, MAX_DURATION = 10_000, 1_000_000  # partitura takes a minute for the latter
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
MAX_TITLE_CHARS = 300


class ScoreUnreadable(PermanentError):
    """The file is no score that can be read."""

    reason = "score_unreadable"


class ScoreNotReached(ScoreUnreadable):
    """It is not the file's fault: the disk is full, it may not be read. Trying again may help."""


def require_partitura() -> None:
    """Raise `UsageError` where the libraries of the extra `align` are not installed."""
    try:
        import parangonar  # noqa: F401
        import partitura  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"scores are read and aligned by partitura and parangonar, of which {error.name} is not installed. "
            "Run `pip install 'aria-data[align]'`."
        ) from error


def find_scores(folder: Path) -> list[Path]:
    """Give every score file below a folder, sorted. Raises `UsageError` where there is none."""
    if not folder.is_dir():
        raise UsageError(f"--scores {printable(str(folder))}: is no folder. Name one that holds scores.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS and path.is_file())
    if not found:
        raise UsageError(f"--scores {printable(str(folder))}: holds no scores. They end in {', '.join(sorted(KINDS))}.")
    return found


def read_score(path: Path, score_id: str, texts: Mapping[str, str] | None = None) -> Score:
    """Read one score. `texts` (title, composer) go before those in the file. Raises `ScoreUnreadable`, in one line."""
    shown = printable(str(path), 1000)
    try:
        content = _content(path)
        digest = hashlib.sha256(content).hexdigest()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # partitura speaks of every oddity
            warnings.simplefilter("ignore")
            found = _load(content, KINDS[path.suffix.lower()], path.suffix.lower())
            notation = read_notation(found)
    except OSError as error:
        advice = "Check that it is there."
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            advice = f"Free space in {tempfile.gettempdir()}."
        raise ScoreNotReached(f"{shown}: cannot be read ({error.strerror or error}). {advice}") from error
    except (MemoryError, RecursionError) as error:
        raise ScoreUnreadable(f"{shown}: is too deep or too large to be read. Remove it from the folder.") from error
    except Exception as error:  # partitura raises its own types and whatever a file makes of its code
        raise ScoreUnreadable(
            f"{shown}: is no score that can be read: {_cause(error)}. Replace or remove it."
        ) from error
    given = dict(texts or {})
    title = given.get("title") or _title(found)
    composer = given.get("composer") or _plain(getattr(found, "composer", ""))
    return Score(score_id, digest, title, composer, composition_of(score_id, title, composer), **notation)


def _cause(error: Exception) -> str:
    text = printable(" ".join(str(error).split()), 160).rstrip(".")
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__} {text}".strip()


def _content(path: Path) -> bytes:
    """The score's text or MIDI bytes, unpacked. Raises `ValueError`, `OSError`."""
    if not path.is_file():
        raise ValueError("it is no file")  # a pipe would be waited for
    with open(path, "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES >> 20} MB")
    if KINDS[path.suffix.lower()] == XML and content[:4] == b"PK\x03\x04":
        content = _unpacked(content)
    if not content:
        raise ValueError("it is empty")
    if KINDS[path.suffix.lower()] in (XML, MEI) and b"<!ENTITY" in content[:100_000]:
        raise ValueError("it defines entities, which no score needs")
    return content


def _unpacked(content: bytes) -> bytes:
    """The score inside a compressed MusicXML: the first root file of its container, else its first XML."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        names = packed.namelist()
        container = _member(packed, "META-INF/container.xml") if "META-INF/container.xml" in names else b""
        found = re.search(rb'full-path\s*=\s*["\']([^"\']+)', container)
        name = found[1].decode("utf-8", "replace") if found else ""
        if name not in names:
            scores = [each for each in names if each.endswith((".xml", ".musicxml")) and "META-INF" not in each]
            name = scores[0] if scores else ""
        if not name:
            raise ValueError("it is packed, but no score is in it")
        return _member(packed, name)


def _member(packed: zipfile.ZipFile, name: str) -> bytes:
    with packed.open(name) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_FILE_BYTES >> 20} MB")
    return content


def _load(content: bytes, kind: str, ending: str) -> Any:
    import partitura

    if kind == MIDI:
        _require_grid(parse(content))  # which says in words what is wrong with a file
    if kind == XML:
        _require_bounded(content)
    if kind == MEI:
        content = _with_ids(content)
    suffix = ".musicxml" if ending == ".mxl" else ending
    with _file_of(content, suffix) as path:
        if kind == XML:
            return partitura.load_musicxml(path, force_note_ids="keep")
        if kind == MIDI:
            return partitura.load_score_midi(path, part_voice_assign_mode=4)
        return (partitura.load_mei if kind == MEI else partitura.load_kern)(path)


def _require_bounded(content: bytes) -> None:
    """Raise `ValueError` for a note without end, of which partitura makes bars for minutes, and for hidden entities."""
    from lxml import etree

    highest = dict.fromkeys(("duration", "divisions"), 0.0)
    tags = [f"{{*}}{name}" for name in highest]
    events = etree.iterparse(io.BytesIO(content), tag=tags, resolve_entities=False, no_network=True, load_dtd=False)
    for _, element in events:
        name, text = etree.QName(element).localname, "".join(element.itertext()).strip()
        with contextlib.suppress(ValueError):
            highest[name] = max(highest[name], float(text))
    if events.root is not None and (dtd := events.root.getroottree().docinfo.internalDTD) is not None:
        _require_no_entities(dtd)
    longest, finest = highest["duration"], max(highest["divisions"], 1.0)
    if longest > min(MAX_DURATION, MAX_NOTE_QUARTERS * finest):
        raise ValueError(f"a note or rest lasts {longest:g} divisions of {finest:g} a quarter")


def _require_no_entities(dtd: Any) -> None:
    if next(iter(dtd.iterentities()), None) is not None:
        raise ValueError("it defines entities, which no score needs")


def _require_grid(file: MidiFile) -> None:
    """Raise `ValueError` for a performance: its notes lie on no grid, and hardly two begin at one tick."""
    events = (event for track in file.tracks for event in track.events)
    ticks = [tick for tick, kind, _, _, velocity in events if kind == NOTE_ON and velocity]
    if not ticks or file.ticks_per_s is not None:
        raise ValueError("it holds no notes" if not ticks else "it counts seconds, not beats: it is no score")
    if max(ticks) > MAX_QUARTERS * file.ticks_per_beat:
        raise ValueError(f"it lasts {max(ticks) // file.ticks_per_beat} quarter notes")
    steps = np.array(ticks) / file.ticks_per_beat * GRID_STEPS
    on_grid = float(np.mean(np.abs(steps - np.round(steps)) < GRID_TOLERANCE))
    together = 1.0 - len(np.unique(ticks)) / len(ticks)
    if on_grid < MIN_ON_GRID and together < MIN_TOGETHER:
        raise ValueError(f"only {on_grid:.0%} of its notes lie on a grid: it is a performance, not a score")


def _with_ids(content: bytes) -> bytes:
    """An MEI text whose elements all have an `xml:id`, as partitura wants them. Those that are there stay."""
    from lxml import etree

    root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, recover=True))
    if root is None:
        raise ValueError("it is no XML")
    if (dtd := root.getroottree().docinfo.internalDTD) is not None:
        _require_no_entities(dtd)
    for number, element in enumerate(root.iter(etree.Element)):
        if element.get(_XML_ID) is None:
            element.set(_XML_ID, f"e{number}")
    return etree.tostring(root)


@contextlib.contextmanager
def _file_of(content: bytes, suffix: str) -> Iterator[str]:
    handle, path = tempfile.mkstemp(suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield path
    finally:
        os.unlink(path)


def _plain(text: Any) -> str:
    return printable(" ".join(str(text or "").split()), MAX_TITLE_CHARS)


def _title(found: Any) -> str:
    """The score's own title: the work's and the movement's, where they differ."""
    names = (_plain(getattr(found, name, "")) for name in ("work_title", "movement_title", "title"))
    return ": ".join(list(dict.fromkeys(name for name in names if name))[:2])


def composition_of(score_id: str, title: str, composer: str) -> str:
    """The composition that a score's texts name, by the rules that read titles of recordings; "" where they name none.

    The file's own title is read first, then the names of the file and of the folders above it.
    """
    tags = {"composer": composer} if composer else {}
    path = Path(score_id)
    words = [*path.parts[:-1], "" if _PLAIN_NAMES.fullmatch(path.stem) else path.stem]
    names = ", ".join(_UNFOLDED.sub("", word).replace("_", " ") for word in words if word)
    texts = (title, names, f"{names}: {title}")
    found = [annotate(text, tags=tags).composition_id for text in texts if text]
    named = [each for each in found if each]
    single = [each for each in named if not is_range(each.partition(":")[2])]  # the title may be the collection's
    return (single or named or [""])[0]
