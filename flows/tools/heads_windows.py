"""Windows of transkun with what is true of them: its tokens and notes of performances that `heads_pianos` plays.

The network is frozen, so tokens are computed once and kept, 4 MB a window: `make_windows` goes on where it stopped.
Pieces and pianos are divided into parts, and no part shares a piece or a piano with another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mido
import numpy as np

from aria_data.errors import UsageError
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, SUSTAIN, Note, read_midi
from aria_data.storage import write_whole
from aria_data.transcribe import Compute, TranscribeConfig, backends
from flows.tools.heads_pianos import CHECK, SAMPLE_RATE, TEST, TRAIN, Played, pianos, play, record

LEAD_S = 4.0  # played before a window begins, so that notes and the pedal are under way
NUM_PARTS = 6  # of the pieces one is for CHECK, one for TEST
SHARE_WITHOUT_PEDAL = 0.1
SHARE_OF_BEGINNINGS = 0.15  # windows with 2 s of silence before the music, as the first of a recording is


@dataclass(frozen=True)
class Performed:
    """A performance of a MIDI file: its notes, and the positions of its sustain pedal from each time on."""

    notes: list[Note]
    times_s: np.ndarray
    positions: np.ndarray

    @property
    def duration_s(self) -> float:
        return max((note.offset_s for note in self.notes), default=0.0)


@dataclass(frozen=True)
class Window:
    """What the frozen network gives for a window of 16 s, and the truth."""

    tokens: np.ndarray  # float16 (90, steps, 256)
    events: np.ndarray  # float32 (events, 8): track, first and last frame, velocity, two shifts, two edges
    notes: np.ndarray  # float32 (notes, 4): onset, key release (s from the window's beginning), pitch, velocity
    position: np.ndarray  # float32 (frames,): of the sustain pedal, 0 to 127
    piano: str


def read_performed(path: Path) -> Performed:
    """Read a performance. Raises `MidiUnreadable`."""
    notes = [note for note in read_midi(path).notes if LOWEST_PITCH <= note.pitch <= HIGHEST_PITCH]
    now, moves = 0.0, [(0.0, 0)]
    for message in mido.MidiFile(path, clip=True):
        now += message.time
        if message.type == "control_change" and message.control == SUSTAIN:
            moves.append((now, message.value))
    times, positions = np.array(moves).T
    return Performed(notes, times, positions)


def part_of_piece(path: Path) -> str:
    """The part of a performance's piece, which its folder names."""
    number = zlib.crc32("/".join(path.parent.parts[-2:]).encode()) % NUM_PARTS
    return {0: TEST, 1: CHECK}.get(number, TRAIN)


def performances(folder: Path, part: str, without: Sequence[str] = ()) -> dict[str, list[Path]]:
    """The MIDI files of a part below `folder`, by composer (its first folder). Paths that hold one of `without`, and
    files named `midi_score`, are left out. Raises `UsageError` where none is left."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.mid")):
        inner = path.relative_to(folder)
        is_out = path.stem == "midi_score" or any(f"{each}/" in inner.as_posix() for each in without)
        if not is_out and part_of_piece(path) == part:
            found.setdefault(inner.parts[0], []).append(path)
    if not found:
        raise UsageError(f"{folder}: holds no performances for the part {part!r}. Name a folder of MIDI files.")
    return found


def drawn(rng: np.random.Generator, by_composer: dict[str, list[Path]]) -> Path:
    """Draw a performance; a composer with four times as many is drawn twice as often."""
    names = list(by_composer)
    weights = np.sqrt([len(by_composer[name]) for name in names])
    files = by_composer[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
    return files[int(rng.integers(len(files)))]


def changed(rng: np.random.Generator, performed: Performed, start_s: float, duration_s: float) -> Played:
    """A stretch of it, with another tempo, transposition and loudness, and sometimes without its pedal."""
    tempo, shift, louder = rng.uniform(0.85, 1.15), int(rng.integers(-3, 4)), rng.normal(0, 8)
    played = excerpt(performed, start_s, duration_s, tempo, shift, louder)
    if rng.random() < SHARE_WITHOUT_PEDAL:
        return replace(played, positions=played.positions * 0)
    return played


def excerpt(
    performed: Performed, start_s: float, duration_s: float, tempo: float = 1.0, shift: int = 0, louder: float = 0.0
) -> Played:
    """A stretch of it from `start_s`, `duration_s` long when it is played at `tempo`; `shift` is in semitones."""
    end_s = start_s + duration_s * tempo
    notes = []
    for note in performed.notes:
        if note.offset_s > start_s and note.onset_s < end_s and LOWEST_PITCH <= note.pitch + shift <= HIGHEST_PITCH:
            velocity = int(np.clip(round(note.velocity + louder), 1, 127))
            onset_s, offset_s = max(0.0, (note.onset_s - start_s) / tempo), (note.offset_s - start_s) / tempo
            notes.append(Note(onset_s, offset_s, note.pitch + shift, velocity))
    is_near = (performed.times_s > start_s) & (performed.times_s < end_s)
    before = int(np.searchsorted(performed.times_s, start_s, side="right")) - 1
    times = np.concatenate([[0.0], (performed.times_s[is_near] - start_s) / tempo])
    positions = np.concatenate([[performed.positions[before]], performed.positions[is_near]])
    return Played(sorted(notes), times, positions, duration_s)


def one_window(rng: np.random.Generator, model: Any, files: dict[str, list[Path]], names: Sequence[str]) -> Window:
    """Play a random stretch on a random piano of `names`, and give it to the network."""
    performed = read_performed(drawn(rng, files))
    window_s = model.window / SAMPLE_RATE
    start_s = float(rng.uniform(0, max(0.1, performed.duration_s - LEAD_S - window_s)))
    played = changed(rng, performed, start_s, LEAD_S + window_s)
    piano = names[int(rng.integers(len(names)))]
    sound = play(rng, piano, played)
    offset_s = LEAD_S
    if rng.random() < SHARE_OF_BEGINNINGS:
        offset_s, sound = -2.0, np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), sound])
    sound = record(rng, sound)[max(0, int(offset_s * SAMPLE_RATE)) :][: model.window]
    sound = np.pad(sound, (0, model.window - len(sound)))
    waveform = np.repeat(sound[None, :, None], 2, axis=2)
    output = model.infer(waveform)[0]
    if isinstance(output, Exception) or output.tokens is None:
        raise UsageError(f"{piano}: gave nothing that the network could read.")
    return _with_truth(model, output, played, offset_s, piano)


def _with_truth(model: Any, output: Any, played: Played, offset_s: float, piano: str) -> Window:
    paths = [output.lattice.path(track, 0) for track in range(len(model.targets))]
    where = [(track, begin, end) for track, path in enumerate(paths) for begin, end in path]
    attributes = model.network.attributes(output.tokens, where)
    events = [(*place, *values) for place, values in zip(where, attributes, strict=True)]
    notes = [(note.onset_s - offset_s, note.offset_s - offset_s, note.pitch, note.velocity) for note in played.notes]
    times = np.arange(output.lattice.ends.shape[1]) * model.frame / SAMPLE_RATE + offset_s
    index = np.searchsorted(played.times_s, times, side="right") - 1
    position = np.where((index >= 0) & (times >= 0), played.positions[np.maximum(index, 0)], 0)
    return Window(
        output.tokens.cpu().numpy().astype(np.float16),
        np.array(events, np.float32).reshape(-1, 8),
        np.array(notes, np.float32).reshape(-1, 4),
        position.astype(np.float32),
        piano,
    )


def make_windows(
    midi: Path,
    out: Path,
    part: str,
    num: int,
    seed: int = 0,
    without: Sequence[str] = (),
    step: int = 1,
    first: int = 0,
) -> Iterator[Path]:
    """Make the windows `first`, `first + step`, ... below `num` of a part that are not in `out` yet."""
    files, names = performances(midi, part, without), weighted(pianos(part))
    model: Any = None
    out.mkdir(parents=True, exist_ok=True)
    for number in range(first, num, step):
        path = out / f"{part}-{seed}-{number:05d}.npz"
        if not path.exists():
            model = model or backends.load(TranscribeConfig(heads=False), Compute("cpu", "bfloat16", num_threads=1))
            rng = np.random.default_rng([seed, {TRAIN: 0, CHECK: 1, TEST: 2}[part], number])
            save(path, one_window(rng, model, files, names))
        yield path


def weighted(names: Sequence[str]) -> list[str]:
    """Pianos as often as they are to be drawn: Salamander's eight layers are worth sixteen formulas."""
    times = {"sampled": 8, "font": 4, "formula": 1}
    return [name for name in names for _ in range(times[name.split(":")[0]] + 8 * ("salamander" in name.lower()))]


def save(path: Path, window: Window) -> None:
    import io

    buffer = io.BytesIO()
    fields = {name: getattr(window, name) for name in ("tokens", "events", "notes", "position")}
    np.savez(buffer, **fields, piano=np.array(window.piano))
    write_whole(path, buffer.getvalue())


def load(path: Path) -> Window:
    """Read a window as `save` wrote it."""
    with np.load(path) as found:
        return Window(found["tokens"], found["events"], found["notes"], found["position"], str(found["piano"]))
