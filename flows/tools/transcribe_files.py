"""From audio files to .mid files, without a dataset: `aria-data transcribe`."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aria_data.audio import IntegrityLimits, probe
from aria_data.collect.folder import audio_files
from aria_data.errors import AriaDataError, PermanentError, TemporaryError, UsageError
from aria_data.midi import midi_bytes
from aria_data.storage import printable, write_whole
from aria_data.transcribe import Compute, Span, TranscribeConfig, TranscriptionResult, devices, transcribe_spans
from aria_data.transcribe.midi_output import cut_endless_notes
from flows import show
from flows.show.progress_bars import Progress

MIDI_SUFFIXES = (".mid", ".midi")
MAX_STEM_BYTES = 200
MADE_FROM = "aria-data made this from file "
HEAD_BYTES = 1024  # of a .mid, which hold that text
_MADE_FROM = re.compile(rb"%s[0-9a-f]{16}" % MADE_FROM.encode())
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result for one file. Without an `error`, `midi` was written."""

    file: str
    midi: str
    num_notes: int = 0
    num_pedal_events: int = 0
    duration_s: float = 0.0
    rtfx: float = 0.0  # seconds of audio per second of wall time since the file before was finished
    confidence: float = 0.0  # 0 to 1, `TranscriptionResult.confidence`
    error: str = ""
    note: str = ""  # what is odd about the file, and how it was read all the same


def plan(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Map each audio file, and those below folders, to the .mid to write. `out` is a folder, or one .mid for one file.

    Files with the same stem get numbers. A .mid that an earlier run made keeps its audio file, so that a file that was
    added takes a name that is left. Raises `UsageError` when there are no audio files or `out` does not fit.
    """
    found = [path for given in files for path in audio_files(given)]
    if not found:
        raise UsageError(f"{printable(str(files[0]))}: holds no audio files.")
    if out.suffix.lower() in MIDI_SUFFIXES and not out.is_dir():
        if len(found) > 1:
            raise UsageError(f"--out {out}: is one file, but there are {len(found)} to write. Name a folder.")
        return {found[0]: out}
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {printable(str(out))}: is a file. Name a folder, or a file that ends in .mid.")
    paths = list(dict.fromkeys(found))
    kept = _made_before(paths, out)
    targets: dict[Path, Path] = {}
    taken = set(kept.values())
    for path in paths:
        targets[path] = kept.get(path) or next(target for target in _names(path, out) if target not in taken)
        taken.add(targets[path])
    return targets


def _names(audio: Path, out: Path) -> Iterator[Path]:
    stem = _shortened(audio.stem)
    yield out / f"{stem}.mid"
    yield from (out / f"{stem}-{number}.mid" for number in itertools.count(2))


def _made_before(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Find which .mid of `out` was made from which of the files, by the text that `_made_from` wrote into it."""
    made: dict[bytes, list[Path]] = {}
    for target in sorted(path for path in out.glob("*.mid") if path.is_file()):
        with suppress(OSError), open(target, "rb") as file:
            found = _MADE_FROM.search(file.read(HEAD_BYTES))
            made.setdefault(found[0], []).append(target) if found else None
    marks = ((path, made.get(_made_from(path).encode())) for path in paths)
    return {path: targets.pop(0) for path, targets in marks if targets}


def _made_from(audio: Path) -> str:
    """The text that says which file a .mid was made from: a hash of its name and its folder's, which tells neither."""
    path = Path(os.path.abspath(audio))
    return MADE_FROM + hashlib.sha256(os.fsencode(f"{path.parent.name}/{path.name}")).hexdigest()[:16]


def _shortened(stem: str) -> str:
    """Cut a stem so that its .mid, a number and `.partial` fit into the 255 bytes of a file name."""
    while len(os.fsencode(stem)) > MAX_STEM_BYTES:
        stem = stem[:-1]
    return stem


def transcribe_files(
    targets: dict[Path, Path], config: TranscribeConfig, compute: Compute, progress: Progress, overwrite: bool
) -> Iterator[FileResult]:
    """Transcribe each file to its target, many at the same time. A file that fails gives a result with an `error`."""
    durations: dict[Path, float] = {}
    for audio, midi in targets.items():
        try:
            if midi.exists() and not overwrite:
                raise UsageError(f"{printable(str(midi))}: exists. Use --overwrite to replace it.")
            durations[audio] = probe(audio).duration_s or 0.0
        except AriaDataError as error:
            yield FileResult(str(audio), str(midi), error=str(error))
    if not durations:
        return
    transcriber = devices.load_everywhere(config, compute)
    read_s: Counter[str] = Counter()

    def on_read(key: str, seconds: float) -> None:
        read_s[key] += seconds  # type: ignore[assignment]
        progress.advance(seconds, num_items=0)

    with progress.stage("transcribe", len(durations), sum(durations.values()), 0):
        finished = time.perf_counter()
        spans = (Span(str(audio), audio, limits=IntegrityLimits()) for audio in durations)
        for key, result in transcribe_spans(transcriber, spans, on_read):
            audio = Path(key)
            took_s, finished = time.perf_counter() - finished, time.perf_counter()
            progress.advance(0.0)
            yield _written(audio, targets[audio], result, float(read_s[key]), took_s)


def _written(
    audio: Path, midi: Path, result: TranscriptionResult | Exception, duration_s: float, took_s: float
) -> FileResult:
    """Write the .mid, or give the error."""
    if isinstance(result, PermanentError | TemporaryError):
        name = printable(audio.name)
        message = str(result).replace(printable(str(audio)), name)
        return FileResult(str(audio), str(midi), error=message if name in message else f"{name}: {message}")
    if isinstance(result, Exception):
        log.error("%s", printable(audio.name), exc_info=result)
        message = f"{printable(audio.name)}: unexpected {type(result).__name__}: {printable(str(result))}"
        return FileResult(str(audio), str(midi), error=message)
    performance, _ = cut_endless_notes(result.performance)
    write_whole(midi, midi_bytes(performance, _made_from(audio)))
    return FileResult(
        str(audio),
        str(midi),
        len(performance.notes),
        len(performance.pedals),
        round(duration_s, 3),
        round(duration_s / max(took_s, 1e-9), 2),
        round(result.confidence, 4),
        note="; ".join(result.remarks),
    )


def print_result(result: FileResult) -> None:
    """Print a line about one file for people, with an error on standard error."""
    if result.error:
        print(f"aria-data: {result.error}", file=sys.stderr, flush=True)
    else:
        print(
            f"{printable(result.midi)}: {result.num_notes} notes, {show.duration(result.duration_s)} of audio, "
            f"{result.rtfx:.1f}x real time, confidence {result.confidence:.3f}",
            flush=True,
        )
        if result.note:
            print(f"aria-data: {printable(Path(result.file).name)}: {result.note}", file=sys.stderr, flush=True)
