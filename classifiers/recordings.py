"""Real recordings as training data: from a CSV of labelled spans or separated stems to clips. No network here.

    file,label,start_s,end_s,licence,source,other_stem          (only file and label are needed)
    clips/a.ogg,piano,0,25,CC0,Kimiko Ishizaka,
    stems/b_piano.wav,,,,CC BY 4.0,someone,stems/b_rest.wav     (labelled by Aria-MIDI's rule for separated stems)

`label` is one of piano, other_instrument, piano_plus_other, speech, noise, silence. `source` groups files so that none
of a source is tested when another was trained on; without it every file is a source. By default only spans with an
open licence are used (`is_open`).
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifiers.dataset import Clips, to_bytes
from classifiers.effects import record
from classifiers.features import FeatureConfig, log_mel, read_blocks
from classifiers.synthesize import CAUSES

OPEN_LICENCE = re.compile(r"(cc0|public domain|pd|cc[ -]by([ -]\d\.\d)?( de)?)", re.IGNORECASE)
MIN_PIECE_S = 2.0  # shorter spans are left out
# Aria-MIDI's stems (aria-cl): no clean piano where the piano is quieter than this for longer than that ...
MIN_PIANO_DB, MAX_QUIET_S = -20.0, 4.0
MAX_OTHER_DB, MAX_LOUD_S = -22.0, 1.0  # ... or the rest is louder than this for longer than that, in a 5 s window
STEM_FRAME_S = 0.1


@dataclass(frozen=True)
class Span:
    """A labelled span of a file; `end_s` None: to its end.

    With `other_path`, `path` is the piano stem, `other_path` the stem of the rest, and their label follows from
    `cause_of_stems`.
    """

    path: Path
    label: str
    start_s: float = 0.0
    end_s: float | None = None
    source: str = ""
    licence: str = ""
    other_path: Path | None = None


def is_open(licence: str) -> bool:
    """Whether every part of a licence text is CC0, public domain or CC BY.

    "CC0 + CC BY 4.0" is; share-alike, non-commercial, no-derivatives and what is not named are not.
    """
    parts = [re.sub(r"\(.*?\)|\(.*$", "", part).strip() for part in licence.split("+")]
    return bool(licence.strip()) and all(OPEN_LICENCE.fullmatch(part) for part in parts)


def read_labels(path: Path, root: Path | None = None, only_open: bool = True) -> list[Span]:
    """Read the spans of a CSV, whose files are below `root` (default: the CSV's folder).

    Raises `ValueError` with file and line for a missing column, an unknown label or a time that is no number.
    """
    root = root or path.parent
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"file", "label"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: needs the columns file,label; missing: {', '.join(sorted(missing))}.")
        spans = [_span(path, line, row, root) for line, row in enumerate(reader, 2)]
    return [span for span in spans if not only_open or is_open(span.licence)]


def _span(path: Path, line: int, row: dict[str, str], root: Path) -> Span:
    other = row.get("other_stem") or ""
    label = (row["label"] or "").strip()
    if label not in CAUSES and not other:
        raise ValueError(f"{path}:{line}: unknown label {label!r}. Known: {', '.join(CAUSES)}.")
    try:
        start_s = float(row.get("start_s") or 0.0)
        end_s = float(row["end_s"]) if row.get("end_s") else None
    except ValueError:
        raise ValueError(f"{path}:{line}: start_s and end_s are seconds, such as 12.5.") from None
    source = row.get("source") or row["file"]
    other_path = root / other if other else None
    return Span(root / row["file"], label, start_s, end_s, source, row.get("licence") or "", other_path)


def label_of_stems(piano: np.ndarray, other: np.ndarray, sample_rate: int) -> bool:
    """Whether a 5 s window is clean piano by Aria-MIDI's rule, from the mono waveforms of its separated stems.

    The rule limits how long the piano may be quiet and the rest loud, in frames of 0.1 s.
    """
    quiet_s = STEM_FRAME_S * float((_levels_db(piano, sample_rate) < MIN_PIANO_DB).sum())
    loud_s = STEM_FRAME_S * float((_levels_db(other, sample_rate) > MAX_OTHER_DB).sum())
    return quiet_s <= MAX_QUIET_S and loud_s <= MAX_LOUD_S


def _levels_db(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    size = int(STEM_FRAME_S * sample_rate)
    frames = waveform[: len(waveform) // size * size].reshape(-1, size)
    return 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)


def cause_of_stems(piano: np.ndarray, other: np.ndarray, sample_rate: int) -> str | None:
    """The label of a piece from its stems, in windows of 5 s; None where some are clean piano and others not.

    Without a clean window it is `piano_plus_other` where the piano's median level is at least `MIN_PIANO_DB`, else
    `other_instrument`.
    """
    size = 5 * sample_rate
    windows = [slice(start, start + size) for start in range(0, max(1, len(piano) - size + 1), size)]
    clean = {label_of_stems(piano[window], other[window], sample_rate) for window in windows}
    if len(clean) > 1:
        return None
    if clean == {True}:
        return "piano"
    return "piano_plus_other" if np.median(_levels_db(piano, sample_rate)) >= MIN_PIANO_DB else "other_instrument"


def recorded_clips(
    folder: Path, spans: Sequence[Span], features: FeatureConfig, clip_s: float, seed: int, num_variants: int
) -> tuple[Clips, list[str]]:
    """Clips of `clip_s` from every span, each in `num_variants` variants: all but the first retuned, every second one
    also through the recording chain (`classifiers.effects.record`).

    They are cached in `folder`. Gives the clips and the source of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames, causes, sources, digest = [], [], [], hashlib.sha256()
    for span in spans:
        content = hashlib.sha256(span.path.read_bytes()).hexdigest()
        what = (span.label, span.start_s, span.end_s, str(span.other_path))
        key = repr((content, what, features, clip_s, seed, num_variants))
        path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        if not path.exists():
            rng = np.random.default_rng([seed, int(content[:12], 16)])
            made = _clips_of(rng, span, features, clip_s, num_variants)
            partial = path.with_suffix(".partial")
            with open(partial, "wb") as file:
                np.savez(file, frames=made[0], causes=made[1])
            os.replace(partial, path)
        with np.load(path) as kept:
            frames.append(kept["frames"])
            causes.append(kept["causes"])
        sources += [span.source] * len(causes[-1])
        digest.update(frames[-1].tobytes() + causes[-1].tobytes())
    empty = np.zeros((0, int(clip_s * features.frames_per_s), features.num_mels), np.uint8)
    all_causes = np.concatenate([np.zeros(0, np.int64), *causes])
    return Clips(np.concatenate([empty, *frames]), all_causes, digest.hexdigest()), sources


def _clips_of(
    rng: np.random.Generator, span: Span, features: FeatureConfig, clip_s: float, num_variants: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and causes of every variant of every piece of a span."""
    rate, size = features.sample_rate, int(clip_s * features.sample_rate)
    frames, causes = [], []
    for piece, label in _labelled_pieces(span, rate, size):
        for number in range(num_variants):
            changed = piece if number == 0 else _retuned(rng, piece, size)
            changed = record(rng, changed, rate) if number % 2 else changed
            frames.append(to_bytes(log_mel(changed, features), features))
            causes.append(CAUSES.index(label))
    empty = np.zeros((0, int(clip_s * features.frames_per_s), features.num_mels), np.uint8)
    return np.stack(frames) if frames else empty, np.array(causes, np.int64)


def _labelled_pieces(span: Span, rate: int, size: int) -> list[tuple[np.ndarray, str]]:
    end = None if span.end_s is None else int(span.end_s * rate)
    part, shortest = slice(int(span.start_s * rate), end), int(MIN_PIECE_S * rate)
    waveform = np.concatenate(list(read_blocks(span.path, rate)))[part]
    if span.other_path is None:
        return [(piece, span.label) for piece in _pieces(waveform, size, shortest)]
    other = np.concatenate(list(read_blocks(span.other_path, rate)))[part]
    length = min(len(waveform), len(other))
    stems = zip(_pieces(waveform[:length], size, shortest), _pieces(other[:length], size, shortest), strict=True)
    found = [(piano + rest, cause_of_stems(piano, rest, rate)) for piano, rest in stems]
    return [(mix, label) for mix, label in found if label is not None]


def _pieces(waveform: np.ndarray, size: int, shortest: int) -> list[np.ndarray]:
    """Pieces of `size` that overlap by half; a waveform that is shorter is repeated."""
    if len(waveform) < shortest:
        return []
    if len(waveform) <= size:
        return [np.resize(waveform, size)]
    starts = list(range(0, len(waveform) - size + 1, size // 2))
    return [waveform[start : start + size] for start in starts]


def _retuned(rng: np.random.Generator, piece: np.ndarray, size: int) -> np.ndarray:
    """Resample to play up to 2.5 semitones faster or slower, drawn from a normal distribution."""
    import soxr

    speed = 2.0 ** (float(np.clip(rng.normal(0, 0.9), -2.5, 2.5)) / 12.0)
    return np.resize(soxr.resample(piece, 48000 * speed, 48000.0), size).astype(np.float32)
