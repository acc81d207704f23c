"""Stand-ins for the two networks, and the sounds, files and rows that small worlds are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.manifest.columns import columns
from aria_data.midi import Note, Performance
from aria_data.transcribe import TranscriptionResult

RATE = 16_000
SHORT_SEGMENTS = ("segment.min_segment_s=5",)  # settings under which pieces of some seconds are kept


@dataclass(frozen=True)
class FakeScores:
    """The part of `classifiers.predict.WindowScores` that a build reads."""

    scores: np.ndarray
    local_scores: np.ndarray
    hop_s: float
    step_s: float
    duration_s: float
    local_any_piano: np.ndarray | None = None
    levels_db: np.ndarray | None = None
    changes: np.ndarray | None = None


class FakeClassifier:
    """Calls a second of sound solo piano when it is loud and its spectrum has peaks; noise and silence are not.

    Enough for a build, which only passes scores on; the classifier's own tests check what counts as piano.
    """

    sample_rate = RATE
    sha256 = "c" * 64

    def score_blocks(self, blocks: Iterable[np.ndarray]) -> FakeScores:
        waveform = np.concatenate([np.zeros(0, np.float32), *blocks])
        seconds = [waveform[start : start + RATE] for start in range(0, len(waveform), RATE)]
        scores = np.array([self._score(second) for second in seconds], np.float32)
        return FakeScores(scores, scores, 1.0, 1.0, len(waveform) / RATE)

    def score_many(
        self, streams: Iterable[tuple[str, Callable[[], Iterable[np.ndarray]]]], num_readers: int
    ) -> Iterator[tuple[str, FakeScores | Exception]]:
        for key, open_blocks in streams:
            try:
                yield key, self.score_blocks(open_blocks())
            except Exception as error:
                yield key, error

    def _score(self, second: np.ndarray) -> float:
        if np.sqrt(np.mean(second**2)) < 0.003:
            return 0.01
        power = np.abs(np.fft.rfft(second)) ** 2 + 1e-12
        flatness = np.exp(np.mean(np.log(power))) / np.mean(power)  # near 1 for noise, near 0 for tones
        return 0.95 if flatness < 0.05 else 0.1


class FakeTranscriber:
    """Gives two notes for every loud second: the loudest frequency of each half, held for a quarter of a second.

    Enough for a build, which only needs notes that depend on the audio it was given, and on nothing else.
    """

    name = "fake"
    sha256 = "f" * 64
    precision = "float32"
    sample_rate = RATE
    num_channels = 1
    window = hop = 2 * RATE
    lead = 0
    batch_size = 3
    num_workers = 2
    num_readers = 0
    correct_tuning = False

    def infer(self, windows: np.ndarray) -> list[Any]:
        return [self._notes(window[:, 0]) for window in windows]

    def _notes(self, window: np.ndarray) -> list[Note]:
        notes = []
        for start in range(0, len(window), RATE // 2):
            half = window[start : start + RATE // 2]
            if np.sqrt(np.mean(half**2)) >= 0.003:
                hertz = max(2.0 * float(np.argmax(np.abs(np.fft.rfft(half)))), 28.0)
                pitch = min(108, max(21, round(69 + 12 * math.log2(hertz / 440))))
                notes.append(Note(start / RATE, start / RATE + 0.25, pitch, 64))
        return notes

    def decoder(self) -> FakeDecoder:
        return FakeDecoder()


def load_fake(config: Any, compute: Any) -> FakeTranscriber:
    """What `backends.load` is replaced by where a process loads its model itself."""
    return FakeTranscriber()


class FakeDecoder:
    """Joins the notes of windows of two seconds, in order."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.decoded_s = 0

    def add(self, output: list[Note]) -> None:
        moved = (Note(n.onset_s + self.decoded_s, n.offset_s + self.decoded_s, n.pitch, n.velocity) for n in output)
        self.notes.extend(moved)
        self.decoded_s += 2

    def finish(self) -> TranscriptionResult:
        return TranscriptionResult(Performance(self.notes), 0.9, np.full(len(self.notes), 0.9))


def use_fakes(patch: Any) -> None:
    """Put the stand-ins where `BuildContext` has the models; `patch` is pytest's monkeypatch or has its `setattr`."""
    from flows.engine.context import BuildContext
    from flows.executors import local

    patch.setattr(local, "PLACED", frozenset())  # another process would not have the stand-ins
    patch.setattr(BuildContext, "classifier", FakeClassifier())
    patch.setattr(BuildContext, "transcriber", FakeTranscriber())
    patch.setattr(BuildContext, "classifier_sha256", FakeClassifier.sha256)
    patch.setattr(BuildContext, "transcriber_sha256", FakeTranscriber.sha256)


def melody(duration_s: float, seed: int = 0, rate: int = RATE, num_channels: int = 1) -> np.ndarray:
    """Give tones of half a second at random pitches, shape (num_samples, num_channels), peak 0.3."""
    num_samples = round(duration_s * rate)
    pitches = np.random.default_rng(seed).integers(48, 80, math.ceil(duration_s * 2) + 1)
    times = np.arange(num_samples) / rate
    hertz = 440.0 * 2.0 ** ((pitches[(times * 2).astype(int)] - 69) / 12)
    return np.repeat(0.3 * np.sin(2 * np.pi * hertz * times)[:, None], num_channels, axis=1).astype(np.float32)


def noise(duration_s: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Give white noise, which the fake classifier does not call piano."""
    return np.random.default_rng(seed).normal(0, 0.1, (round(duration_s * rate), 1)).astype(np.float32)


def write_audio(path: Path, waveform: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    """Write WAV, FLAC or Ogg Vorbis by the path's suffix, with libsndfile: not the library that reads it."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        soundfile.write(file, waveform, rate, subtype=subtype, format=path.suffix[1:].upper())
    return path


def encode_audio(
    path: Path,
    waveform: np.ndarray,
    codec: str,
    rate: int = 48_000,
    options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write any container PyAV knows by the path's suffix; `options` are the container's."""
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[waveform.shape[1]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(options or {})) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate, layout=layout, options=dict(codec_options or {}))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform.T), "fltp", layout)
        frame.sample_rate = rate
        for piece in av.AudioResampler(stream.format, layout, rate, stream.frame_size or None).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def manifest_row(segment_id: str, **values: Any) -> dict[str, Any]:
    """Give one row of the manifest, every column filled; `values` replace what a test is about."""
    recording_id, _, number = segment_id.rpartition("_")
    plain = {"string": "x", "int64": 1, "float64": 1.5, "bool": True}
    row = {column["name"]: plain[column["type"]] for column in columns()}
    row |= {"segment_id": segment_id, "recording_id": recording_id, "number": int(number), "source": "local"}
    row |= {"beats_path": None, "alignment_path": None}  # files that there are not
    return row | {"first_version": 1, "removed_in": None, "removal_reason": None} | values
