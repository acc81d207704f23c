"""MIDI files as token ids: miditok's TSD over notes in seconds. No windows, no models.

A performance has no bars that could be trusted, so notes are read in seconds and written at 120 beats a minute; a step
of the grid is then 1/48 s. Velocities are in 12 bins; programs, tempos and pedals have no tokens. A note is three to
five tokens: the time since the onset before (none, one or two), pitch, velocity, duration.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import MidiUnreadable
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, MAX_FILE_BYTES, performance_of
from aria_data.storage import printable
from aria_data.stores.object_paths import ObjectPath

KINDS = ("special", "time", "pitch", "duration", "velocity")  # of tokens, by number
_KIND_OF = {"TimeShift": "time", "Pitch": "pitch", "Duration": "duration", "Velocity": "velocity"}
BEATS_PER_S = 2.0  # 120 a minute, in every file, regardless of its own tempos
MAX_NOTES = 500_000


@dataclass(frozen=True)
class TokenConfig:
    """How notes become tokens and files become windows."""

    fine_steps_per_beat: int = 24  # 20.8 ms, for times and durations below `fine_beats`
    coarse_steps_per_beat: int = 4  # 125 ms above
    fine_beats: int = 2
    max_beats: int = 8  # 4 s; longer notes and longer gaps between onsets are shortened to it
    num_velocities: int = 12
    context_tokens: int = 128  # of a window; the pilot's: about 35 notes
    windows_per_file: int = 8  # at most, evenly spaced
    warm_up_tokens: int = 16  # the first of a window: trained on but not scored, as they have little context
    min_notes: int = 8


@dataclass(frozen=True)
class Vocabulary:
    """The meaning of each token id. The ids of pitches are consecutive, so a transposition is an addition."""

    names: tuple[str, ...]
    kinds: np.ndarray  # (ids,) index into KINDS
    sha256: str  # of the names in order and the settings that give them
    pad: int
    bos: int

    @property
    def pitch_ids(self) -> tuple[int, int]:
        """The lowest and the highest id of a pitch."""
        pitches = np.flatnonzero(self.kinds == KINDS.index("pitch"))
        return int(pitches[0]), int(pitches[-1])

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class TokenFile:
    """One file's tokens, and the sizes that budgets count."""

    ids: np.ndarray  # uint16
    num_notes: int
    minutes: float  # from the first onset to the last release


def _settings(config: TokenConfig) -> dict[str, Any]:
    return {
        "pitch_range": (LOWEST_PITCH, HIGHEST_PITCH),  # both included
        "beat_res": {
            (0, config.fine_beats): config.fine_steps_per_beat,
            (config.fine_beats, config.max_beats): config.coarse_steps_per_beat,
        },
        "num_velocities": config.num_velocities,
        "special_tokens": ["PAD", "BOS"],
        "encode_ids_split": "no",
        "use_programs": False,
        "use_time_signatures": False,
        "use_pitchdrum_tokens": False,
    }


@lru_cache(maxsize=4)
def _tokenizer(config: TokenConfig):
    from miditok import TSD, TokenizerConfig

    return TSD(TokenizerConfig(**_settings(config)))


@lru_cache(maxsize=4)
def vocabulary(config: TokenConfig) -> Vocabulary:
    """Give the vocabulary of these settings."""
    tokenizer = _tokenizer(config)
    names = tuple(sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__))
    kinds = [KINDS.index(_KIND_OF.get(name.split("_")[0], "special")) for name in names]
    content = json.dumps([names, repr(sorted(_settings(config).items()))])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Vocabulary(names, np.array(kinds, dtype=np.int8), digest, names.index("PAD_None"), names.index("BOS_None"))


def tokenize(midi: bytes | str | Path, config: TokenConfig, name: str = "") -> TokenFile:
    """Tokenize one file, given by path or content. Percussion and notes outside of the 88 keys are left out.

    Raises `MidiUnreadable`, in one line that begins with `name`, for a file that cannot be read, is too large, or has
    fewer than `min_notes` notes.
    """
    name = printable(name or (str(midi) if not isinstance(midi, bytes) else "MIDI"))
    onsets, durations, pitches, velocities = _read_notes(midi, name)
    if len(onsets) < config.min_notes:
        raise MidiUnreadable(
            f"{name}: has {len(onsets)} piano notes, and {config.min_notes} are the fewest that can be scored. "
            "Leave it out.",
            reason="too_few_notes",
        )
    minutes = float((onsets + durations).max() - onsets.min()) / 60
    score = _score_at_fixed_tempo(onsets, durations, pitches, velocities, config)
    encoded = _tokenizer(config).encode(score)
    ids = np.array((encoded[0] if isinstance(encoded, list) else encoded).ids, dtype=np.uint16)
    return TokenFile(ids, len(onsets), minutes)


def _read_notes(midi: bytes | str | Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give onsets and durations in seconds, pitches and velocities, sorted by onset, then pitch."""
    try:
        content = midi if isinstance(midi, bytes) else _read_bytes(midi)
    except OSError as error:
        raise MidiUnreadable(f"{name}: cannot be read ({error.strerror or error}). Check that it is there.") from error
    if len(content) > MAX_FILE_BYTES:
        raise MidiUnreadable(f"{name}: is {len(content) >> 20} MB, no piano MIDI file. Remove or replace it.")
    try:
        return _valid_notes(_notes_of(content), name)
    except ValueError as error:
        raise MidiUnreadable(f"{name}: is not a valid MIDI file ({error}). Remove or replace it.") from error


def _notes_of(content: bytes) -> np.ndarray:
    """Give onsets, durations, pitches and velocities, shape (4, notes). Raises `ValueError`.

    symusic is several times faster than `performance_of`, which reads the odd files that it refuses.
    """
    from symusic import Score

    try:
        score: Any = Score.from_midi(content, ttype="second")
        tracks = [track.notes.numpy() for track in score.tracks if not track.is_drum]
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError):
        notes = performance_of(content).notes
        rows = [(note.onset_s, note.offset_s - note.onset_s, note.pitch, note.velocity) for note in notes]
        return np.array(rows, dtype=np.float64).reshape(-1, 4).T
    fields = ("time", "duration", "pitch", "velocity")
    empty: list[np.ndarray] = [np.zeros(0)]
    return np.stack([np.concatenate(empty + [np.asarray(t[key], dtype=np.float64) for t in tracks]) for key in fields])


def _read_bytes(path: str | Path) -> bytes:
    if isinstance(path, ObjectPath):
        return path.read_bytes()
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _valid_notes(notes: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keep notes of the 88 keys with finite times from 0 up and a velocity; sorted by onset, then pitch."""
    onsets, durations, pitches, velocities = notes
    is_valid = np.isfinite(onsets) & np.isfinite(durations) & (onsets >= 0) & (durations >= 0) & (velocities > 0)
    kept = notes[:, is_valid & (pitches >= LOWEST_PITCH) & (pitches <= HIGHEST_PITCH)]
    if kept.shape[1] > MAX_NOTES:
        raise MidiUnreadable(f"{name}: has {kept.shape[1]} notes, no piano performance. Remove or replace it.")
    kept = kept[:, np.lexsort((kept[2], kept[0]))]
    return kept[0], kept[1], kept[2], kept[3]


def _score_at_fixed_tempo(
    onsets: np.ndarray, durations: np.ndarray, pitches: np.ndarray, velocities: np.ndarray, config: TokenConfig
):
    """Write the notes on the fine grid from time 0; gaps longer than the longest time token are shortened to it."""
    from symusic import Note, Score, Track

    steps_per_s = BEATS_PER_S * config.fine_steps_per_beat
    max_steps = config.max_beats * config.fine_steps_per_beat
    gaps = np.diff(onsets, prepend=onsets[0])
    times = np.round(np.cumsum(np.minimum(gaps * steps_per_s, max_steps)))
    score: Any = Score(config.fine_steps_per_beat)
    track: Any = Track(program=0)
    track.notes = Note.from_numpy(
        time=times.astype(np.int32),
        duration=np.clip(np.round(durations * steps_per_s), 1, max_steps).astype(np.int32),
        pitch=pitches.astype(np.int8),
        velocity=velocities.astype(np.int8),
    )
    score.tracks.append(track)
    return score
