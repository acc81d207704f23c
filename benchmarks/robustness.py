"""Onset F1 of a transcriber on recordings that are degraded as real recordings are.

    python benchmarks/robustness.py FOLDER [--only detuned]

FOLDER holds pairs `name.<audio>` and `name.mid`. Prints, for each condition, the mean F1 (mir_eval, 50 ms): without
correction of the tuning (for detuned conditions), with it, and with it when a shift of all notes by one semitone is
forgiven (50 cents off may as well be the next key); then the lowest F1 and the model's own confidence.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from transcription import pairs_in

from aria_data.audio import AudioReader
from aria_data.midi import Note, Pedal, Performance, read_midi
from aria_data.midi.accuracy import compare_notes
from aria_data.transcribe import Compute, Span, TranscribeConfig, TranscriptionResult, backends, transcribe_spans

RATE = 44_100
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def faster(waveform: np.ndarray, cents: float) -> np.ndarray:
    """Resample to play faster, and so sharper, by so many cents."""
    return soxr.resample(waveform, RATE * 2 ** (cents / 1200), RATE).astype(np.float32)


def noisy(db: float) -> Change:
    def change(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(0, waveform.std() * 10 ** (-db / 20), waveform.shape)
        return waveform + noise.astype(np.float32)

    return change


def band_limited(low_hz: float, high_hz: float) -> Change:
    """A telephone's or an old record's band: Butterworth of order 6."""
    from scipy.signal import butter, sosfilt

    def change(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return sosfilt(butter(6, [low_hz, high_hz], "bandpass", fs=RATE, output="sos"), waveform, axis=0).astype("f")

    return change


def reverberant(seconds: float, share: float) -> Change:
    """A room: noise that dies away by 60 dB in so many seconds, mixed in by its share of the energy."""
    from scipy.signal import fftconvolve

    def change(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        times = np.arange(round(seconds * RATE)) / RATE
        room = rng.normal(size=(len(times), waveform.shape[1])) * (10 ** (-3 * times / seconds))[:, None]
        wet = fftconvolve(waveform, room, axes=0)[: len(waveform)]
        wet *= waveform.std() / wet.std() * (share / (1 - share)) ** 0.5
        return (waveform + wet).astype(np.float32)

    return change


def as_mp3(bit_rate: int) -> Change:
    """Encode and decode; the encoder's delay is taken out, as players do."""
    import av

    def change(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        file = io.BytesIO()
        with av.open(file, "w", format="mp3") as container:
            stream = container.add_stream("libmp3lame", rate=RATE, layout="stereo", options={"b": str(bit_rate)})
            stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform.T), "fltp", "stereo")
            frame.sample_rate = RATE
            for piece in av.AudioResampler(stream.format, "stereo", RATE, stream.frame_size).resample(frame):
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as container:
            back = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1).T
        return np.ascontiguousarray(back[: len(waveform)], np.float32)

    return change


def quiet(db: float) -> Change:
    """Turn it down and store it in 16 bits, as a quiet recording is."""
    return lambda waveform, rng: np.round(waveform * 10 ** (db / 20) * 32768).astype(np.float32) / 32768


CONDITIONS: dict[str, tuple[Change, float]] = {  # what is changed, and how much faster it plays, in cents
    "as it is": (lambda waveform, rng: waveform, 0.0),
    "detuned +50 cents": (lambda waveform, rng: faster(waveform, 50), 50.0),
    "detuned -50 cents": (lambda waveform, rng: faster(waveform, -50), -50.0),
    "detuned +30 cents": (lambda waveform, rng: faster(waveform, 30), 30.0),
    "detuned -30 cents": (lambda waveform, rng: faster(waveform, -30), -30.0),
    "band 300 to 3400 Hz": (band_limited(300, 3400), 0.0),
    "band 100 to 5000 Hz": (band_limited(100, 5000), 0.0),
    "noise, 20 dB": (noisy(20), 0.0),
    "noise, 10 dB": (noisy(10), 0.0),
    "noise, -5 dB": (noisy(-5), 0.0),
    "room of 2 s, half of the energy": (reverberant(2.0, 0.5), 0.0),
    "mp3 at 64 kbit/s": (as_mp3(64_000), 0.0),
    "quiet, -40 dB": (quiet(-40), 0.0),
}


def at_speed(performance: Performance, cents: float) -> Performance:
    """The true notes of a recording that plays faster."""
    f = 2 ** (-cents / 1200)
    return Performance(
        [Note(n.onset_s * f, n.offset_s * f, n.pitch, n.velocity) for n in performance.notes],
        [Pedal(p.onset_s * f, p.offset_s * f, p.controller) for p in performance.pedals],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="conditions whose name holds this text")
    parser.add_argument("--transcriber", default="transkun", choices=backends.NAMES)
    parser.add_argument("--checkpoint", default="")
    arguments = parser.parse_args()
    pairs = pairs_in(arguments.folder)
    if not pairs:
        sys.exit(f"{arguments.folder}: holds no pairs of audio and .mid")
    model = backends.load(TranscribeConfig(arguments.transcriber, checkpoint=arguments.checkpoint), Compute())
    everything = []
    print(f"{'condition':34} {'as tuned':>9} {'corrected':>10} {'forgiven':>9} {'lowest':>8} {'confidence':>11}")
    for name, (change, cents) in CONDITIONS.items():
        if arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            truths = {}
            for audio, midi in pairs:
                with AudioReader(audio, RATE, 2) as reader:
                    waveform = np.concatenate(list(reader.blocks()))
                changed = Path(folder) / f"{audio.stem}.wav"
                soundfile.write(changed, change(waveform, np.random.default_rng(0)), RATE, subtype="FLOAT")
                truths[changed] = at_speed(read_midi(midi), cents)
            is_tuning = name == "as it is" or "detuned" in name
            as_tuned = f1_of(transcribe_all_of(model, truths, False), truths).mean() if is_tuning else np.nan
            corrected = transcribe_all_of(model, truths, True)
        f1, confidence = f1_of(corrected, truths), [result.confidence for result in corrected.values()]
        forgiven = np.max([f1_of(corrected, truths, semitones) for semitones in (-1, 0, 1)], axis=0)
        everything += zip(forgiven, confidence, strict=True)
        print(
            f"{name:34} {as_tuned:9.4f} {f1.mean():10.4f} {forgiven.mean():9.4f} {forgiven.min():8.4f} "
            f"{np.mean(confidence):11.4f}",
            flush=True,
        )
    f1, confidence = np.array(everything).T
    print(f"\nconfidence and F1 over all {len(f1)}: correlation {np.corrcoef(f1, confidence)[0, 1]:.3f}, ", end="")
    print(f"mean difference {np.abs(f1 - confidence).mean():.3f}")


def transcribe_all_of(model: Any, files: Iterable[Path], correct_tuning: bool) -> dict[Path, TranscriptionResult]:
    model.correct_tuning = correct_tuning
    found = dict(transcribe_spans(model, [Span(str(path), path) for path in files]))
    return {path: found[str(path)] for path in files}


def f1_of(results: dict[Path, TranscriptionResult], truths: dict[Path, Performance], semitones: int = 0) -> np.ndarray:
    """Onset F1 of each file, with all notes shifted by so many semitones."""
    moved = {
        path: Performance([Note(n.onset_s, n.offset_s, n.pitch + semitones, n.velocity) for n in one.performance.notes])
        for path, one in results.items()
    }
    return np.array([compare_notes(truths[path], moved[path]).onset_f1 for path in truths])


if __name__ == "__main__":
    main()
