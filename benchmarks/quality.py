"""Which damage the label-free measures detect: AUC of damaged against clean transcriptions.

    python benchmarks/quality.py FOLDER

FOLDER holds pairs `name.<audio>` and `name.mid`. Each recording is transcribed; then its notes are damaged (a passage
of 5 s removed, pitches changed, times shifted, half dropped, made even), or noise is added to its sound (-5 dB) and it
is transcribed again. Prints, for each damage and measure, the area under the curve: 1.0 separates perfectly, 0.5 not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from transcription import pairs_in

from aria_data.audio import AudioReader
from aria_data.measure.quality import SAMPLE_RATE, analyse_sound, fit
from aria_data.midi import Note, Performance
from aria_data.transcribe import backends
from aria_data.transcribe.batching import transcribe_one

REPEATS = 4
MEASURES = {  # name -> +1 when damage lowers it, -1 when damage raises it
    "transcription_confidence": 1,
    "chroma_agreement": 1,
    "onset_agreement": 1,
    "missed_passage_s": -1,
    "score_likeness": -1,
}
NOISE_DB = -5.0  # signal to noise


def changed(performance: Performance, change: Callable[[Note], Note | None]) -> Performance:
    return Performance(sorted(note for note in map(change, performance.notes) if note), performance.pedals)


def without_5_s(performance: Performance, rng: np.random.Generator) -> Performance:
    start = rng.uniform(3, max(4.0, performance.end_s - 10))
    return changed(performance, lambda n: None if start <= n.onset_s < start + 5 else n)


def wrong_pitches(share: float, largest: int) -> Callable:
    def damage(performance: Performance, rng: np.random.Generator) -> Performance:
        def change(note: Note) -> Note:
            step = int(rng.choice([-1, 1]) * rng.integers(1, largest + 1)) if rng.random() < share else 0
            return Note(note.onset_s, note.offset_s, min(108, max(21, note.pitch + step)), note.velocity)

        return changed(performance, change)

    return damage


def shifted(by_s: float) -> Callable:
    return lambda performance, rng: changed(
        performance, lambda n: Note(n.onset_s + by_s, n.offset_s + by_s, n.pitch, n.velocity)
    )


def half(performance: Performance, rng: np.random.Generator) -> Performance:
    return changed(performance, lambda n: n if rng.random() < 0.5 else None)


def even(performance: Performance, rng: np.random.Generator) -> Performance:
    """Move every onset to a grid of 125 ms, 5 ms of a transcriber's error included."""

    def change(note: Note) -> Note:
        onset_s = max(0.0, round(note.onset_s / 0.125) * 0.125 + float(rng.normal(0, 0.005)))
        return Note(onset_s, onset_s + 0.1, note.pitch, note.velocity)

    return changed(performance, change)


DAMAGES = {
    "5 s removed": without_5_s,
    "half the pitches wrong": wrong_pitches(0.5, 6),
    "a fifth of the pitches wrong": wrong_pitches(0.2, 6),
    "a fifth a semitone off": wrong_pitches(0.2, 1),
    "150 ms late": shifted(0.15),
    "80 ms early": shifted(-0.08),
    "half the notes dropped": half,
    "made even": even,
}


def auc(clean: list[float], damaged: list[float], sign: int) -> float:
    """Give the chance that a clean transcription has a better value than a damaged one; ties count half."""
    better = sign * (np.array(clean)[:, None] - np.array(damaged)[None])
    better = better[np.isfinite(better)]
    return float((better > 0).mean() + 0.5 * (better == 0).mean()) if better.size else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    audio_files = [audio for audio, _ in pairs_in(arguments.folder)]
    if not audio_files:
        sys.exit(f"{arguments.folder}: holds no pairs of audio and .mid")
    model = backends.load()
    rng = np.random.default_rng(0)
    clean: list[dict[str, float]] = []
    damaged: dict[str, list[dict[str, float]]] = {name: [] for name in ("noise at -5 dB", *DAMAGES)}
    for audio in audio_files:
        with AudioReader(audio, model.sample_rate, model.num_channels) as reader:
            waveform = np.concatenate(list(reader.blocks()))
        with AudioReader(audio, SAMPLE_RATE, 1) as reader:
            sound = np.concatenate(list(reader.blocks()))
        result, trace = transcribe_one(model, [waveform]), analyse_sound([sound])
        confidence = {"transcription_confidence": result.confidence}
        clean.append(fit(trace, result.performance) | confidence)
        for name, damage in DAMAGES.items():
            damaged[name] += [fit(trace, damage(result.performance, rng)) | confidence for _ in range(REPEATS)]
        level = 10 ** (-NOISE_DB / 20)
        noisy = waveform + rng.normal(0, waveform.std() * level, waveform.shape).astype(np.float32)
        in_noise = transcribe_one(model, [noisy])
        noisy_sound = sound + rng.normal(0, sound.std() * level, sound.shape).astype(np.float32)
        values = fit(analyse_sound([noisy_sound]), in_noise.performance)
        damaged["noise at -5 dB"].append(values | {"transcription_confidence": in_noise.confidence})
        print(f"{audio.name}: done", file=sys.stderr, flush=True)
    medians = {name: round(float(np.nanmedian([one[name] for one in clean])), 3) for name in MEASURES}
    print(f"{len(clean)} clean; medians {medians}")
    print(f"{'AUC':30}" + "".join(f"{name:>26}" for name in MEASURES))
    for name, rows in damaged.items():
        cells = [auc([c[m] for c in clean], [r[m] for r in rows], sign) for m, sign in MEASURES.items()]
        print(f"{name:30}" + "".join(f"{cell:26.3f}" for cell in cells))


if __name__ == "__main__":
    main()
