"""Training data: synthesised clips cached as frames in a folder, and batches of them with random augmentation.

A session file is written whole and named by its number, so a stopped run goes on where it was, and its content
depends on the seed alone. Clips are mixed and filtered on the fly: adding mel powers is adding sounds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from classifiers.features import FeatureConfig, log_mel
from classifiers.synthesize import CAUSES, SynthesisConfig, make_session

DB_STEP = 0.5  # frames are cached as bytes: half decibels above the floor
RECIPE_MODULES = ("effects", "features", "instruments", "music", "noises", "samples", "soundfont", "synthesize")
PIANO, OTHER, BOTH, SPEECH, NOISE, SILENCE = range(len(CAUSES))
REAL_SHARES = {PIANO: 0.5, OTHER: 0.28, BOTH: 0.07, SPEECH: 0.05, NOISE: 0.1}  # SynthesisConfig's, with more piano


@dataclass(frozen=True)
class Clips:
    """All cached clips: frames as bytes, shape (num_clips, num_frames, num_mels), and each clip's cause."""

    frames: np.ndarray
    causes: np.ndarray  # index into CAUSES
    sha256: str
    details: tuple[str, ...] = ()  # the instrument or noise of each; empty where it was not kept

    def detail(self, index: int) -> str:
        return self.details[index] if index < len(self.details) else ""


def build_cache(
    folder: Path,
    num_sessions: int,
    seed: int,
    features: FeatureConfig,
    synthesis: SynthesisConfig,
    num_workers: int = 2,
) -> Clips:
    """Synthesise the sessions that are missing in `folder`, then load all `num_sessions` in order."""
    folder = folder / _recipe_sha256(seed, features, synthesis)[:12]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"session_{number:05d}.npz", seed, number, features, synthesis) for number in range(num_sessions)]
    missing = [job for job in jobs if not job[0].exists()]
    if missing and num_workers > 1:
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            for index, _ in enumerate(pool.map(_write_session, missing)):
                if index % 20 == 19:
                    print(f"synthesised {index + 1} of {len(missing)} sessions", flush=True)
    else:
        for job in missing:
            _write_session(job)
    return load_clips([job[0] for job in jobs])


def _recipe_sha256(seed: int, features: FeatureConfig, synthesis: SynthesisConfig) -> str:
    """The hash of the seed, the settings and the code of the synthesis; with another one the clips are made again."""
    digest = hashlib.sha256(repr((asdict(features), asdict(synthesis), seed)).encode())
    for name in RECIPE_MODULES:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _write_session(job: tuple[Path, int, int, FeatureConfig, SynthesisConfig]) -> None:
    path, seed, number, features, synthesis = job
    clips = make_session(seed, number, synthesis)
    frames = np.stack([to_bytes(log_mel(clip.waveform, features), features) for clip in clips])
    causes = np.array([CAUSES.index(clip.cause) for clip in clips], np.int64)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.savez(file, frames=frames, causes=causes, details=np.array([clip.detail for clip in clips]))
    os.replace(partial, path)


def to_bytes(frames_db: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Quantise dB to half decibels above the floor, 0 to 255."""
    return np.clip(np.round((frames_db - config.floor_db) / DB_STEP), 0, 255).astype(np.uint8)


def load_clips(paths: list[Path]) -> Clips:
    """Load session files, in order; `sha256` is that of their frames and causes."""
    frames, causes, digest = [], [], hashlib.sha256()
    details: list[str] = []
    for path in paths:
        with np.load(path) as session:
            frames.append(session["frames"])
            causes.append(session["causes"])
            details += session["details"].tolist() if "details" in session else [""] * len(causes[-1])
        digest.update(frames[-1].tobytes())
        digest.update(causes[-1].tobytes())
    return Clips(np.concatenate(frames), np.concatenate(causes), digest.hexdigest(), tuple(details))


@dataclass(frozen=True)
class AugmentConfig:
    """How batches are augmented. The values were set by hand on held-out synthetic clips, without a search."""

    recorded_share: float = 0.35  # of a batch, where there are real recordings
    mix_share: float = 0.28
    splice_share: float = 0.28
    gap_share: float = 0.08  # silence of 2 to 5 s within a clip, as between two pieces
    min_other_db: float = -12.0  # beside the piano, as in SynthesisConfig: from here on the clip is no solo
    max_other_db: float = 12.0
    faint_other_db: float = -25.0  # a sound this faint or fainter (a cough, a bird) leaves the clip a solo
    min_noise_db: float = -3.0
    equaliser_db: float = 7.0
    noise_share: float = 0.4
    lowpass_share: float = 0.15
    mask_share: float = 0.4


@dataclass(frozen=True)
class Batch:
    """Frames (batch, num_frames, num_mels) in dB, and the labels of every frame."""

    frames_db: np.ndarray
    solo: np.ndarray  # (batch, num_frames) 1 where clean solo piano
    any_piano: np.ndarray  # (batch, num_frames) 1 where a piano sounds, alone or not
    cause: np.ndarray  # (batch, num_frames) index into CAUSES


@dataclass(frozen=True)
class Recorded:
    """Clips of real recordings and the source of each. Every source of a cause is drawn equally often."""

    clips: Clips
    sources: list[str]


class Batches:
    """An endless stream of augmented batches; the same seed gives the same stream.

    With `recorded`, a share `augment.recorded_share` of every batch is real recordings, and so is the same share of the
    sounds that are mixed in or spliced on. `chosen` are the indices of the synthesised clips to train on (None: all).
    """

    def __init__(
        self,
        clips: Clips,
        features: FeatureConfig,
        augment: AugmentConfig,
        batch_size: int,
        seed: int,
        recorded: Recorded | None = None,
        chosen: np.ndarray | None = None,
    ):
        self.features, self.augment, self.batch_size = features, augment, batch_size
        self.rng = np.random.default_rng([seed, 1])
        self.num_synthetic = len(clips.causes)
        self.parts = [clips.frames] if recorded is None else [clips.frames, recorded.clips.frames]
        self.causes = clips.causes if recorded is None else np.concatenate([clips.causes, recorded.clips.causes])
        self.chosen = np.arange(self.num_synthetic) if chosen is None else chosen
        self.not_piano = self.chosen[np.isin(clips.causes[self.chosen], (OTHER, SPEECH, NOISE))]
        self.silences = self.chosen[clips.causes[self.chosen] == SILENCE]
        self.real = {} if recorded is None else _by_cause_and_source(recorded, self.num_synthetic)

    def __iter__(self) -> Iterator[Batch]:
        num_real = round(self.augment.recorded_share * self.batch_size) if self.real else 0
        num_synthetic = self.batch_size - num_real
        while True:
            order = self.rng.permutation(self.chosen)
            for start in range(0, len(order) - num_synthetic + 1, num_synthetic):
                indices = [int(index) for index in order[start : start + num_synthetic]]
                indices += [self._draw_real(REAL_SHARES) for _ in range(num_real)]
                frames, labels = zip(*(self._example(index) for index in indices), strict=True)
                solo, any_piano, cause = np.stack(labels, axis=1)
                yield Batch(np.stack(frames), solo.astype(np.float32), any_piano.astype(np.float32), cause)

    def _frames(self, index: int) -> np.ndarray:
        part, place = (0, index) if index < self.num_synthetic else (1, index - self.num_synthetic)
        return self.parts[part][place].astype(np.float32) * DB_STEP + np.float32(self.features.floor_db)

    def _draw_real(self, shares: dict[int, float]) -> int:
        """Draw a real clip: its cause by `shares`, then a source of that cause, then a clip of that source."""
        causes = [cause for cause in shares if cause in self.real]
        weights = np.array([shares[cause] for cause in causes])
        sources = self.real[causes[int(self.rng.choice(len(causes), p=weights / weights.sum()))]]
        return int(self.rng.choice(sources[int(self.rng.integers(len(sources)))]))

    def _draw_other(self) -> int:
        """Draw a clip without piano to mix in, real as often as the clips of a batch are."""
        shares = {cause: 1.0 for cause in (OTHER, SPEECH, NOISE) if cause in self.real}
        if shares and self.rng.random() < self.augment.recorded_share:
            return self._draw_real(shares)
        return int(self.rng.choice(self.not_piano))

    def _draw_any(self) -> int:
        if self.real and self.rng.random() < self.augment.recorded_share:
            return self._draw_real(REAL_SHARES)
        return int(self.rng.choice(self.chosen))

    def _example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng, augment = self.rng, self.augment
        frames_db, cause = self._frames(index), int(self.causes[index])
        labels = np.repeat(labels_of(cause)[:, None], len(frames_db), axis=1)
        kind = rng.random()
        if kind < augment.mix_share and cause in (PIANO, OTHER):
            frames_db, cause = self._mix(frames_db, cause)
            labels = np.repeat(labels_of(cause)[:, None], len(frames_db), axis=1)
        elif kind < augment.mix_share + augment.splice_share:
            frames_db, labels = self._splice(frames_db, labels)
        elif kind < augment.mix_share + augment.splice_share + augment.gap_share and self.silences.size:
            frames_db, labels = self._gap(frames_db, labels)
        return self._colour(frames_db, is_silence=cause == SILENCE), labels

    def _mix(self, frames_db: np.ndarray, cause: int) -> tuple[np.ndarray, int]:
        """Mix in another sound, at a level that either ends a solo or clearly does not. Gives (frames, cause)."""
        rng, augment = self.rng, self.augment
        other = self._draw_other()
        other_cause = int(self.causes[other])
        level_db = rng.uniform(augment.min_other_db, augment.max_other_db)
        if other_cause == NOISE:
            level_db = max(level_db, augment.min_noise_db)
        is_faint = cause == PIANO and rng.random() < 0.25
        if is_faint:
            level_db = augment.faint_other_db - rng.uniform(0, 15)
        added = np.roll(self._frames(other), int(rng.integers(len(frames_db))), axis=0)
        mixed = add_sounds(frames_db, added + (loudness(frames_db) - loudness(added) + level_db))
        if cause == PIANO:
            return mixed, PIANO if is_faint else BOTH
        return mixed, cause if level_db < 0 else other_cause

    def _splice(self, frames_db: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let another clip begin within this one, at a level of its own, at once or faded in over up to half a second.

        One time of three the first sound rings on below it, as a last chord does. Labels change in the middle of the
        fade; before silence, when the ringing has died away.
        """
        rng = self.rng
        index = self._draw_any()
        cut = int(rng.integers(len(frames_db) // 6, len(frames_db)))
        gain_db = rng.uniform(-12, 12) if self.causes[index] != SILENCE else 0.0
        after = self._frames(index) + np.float32(gain_db)
        fade = int(rng.choice([1, self.features.frames_per_s // 4, self.features.frames_per_s // 2]))
        past = np.clip((np.arange(len(frames_db)) - cut) / fade + 0.5, 0.0, 1.0)
        floor = np.float32(-60.0)
        rise = np.maximum(20.0 * np.log10(past + 1e-6), floor)[:, None].astype(np.float32)
        fall = np.maximum(20.0 * np.log10(1.0 - past + 1e-6), floor)[:, None].astype(np.float32)
        rings_s = 0.0
        if rng.random() < 0.33:
            per_s = rng.uniform(20, 80)  # dB that a ringing sound loses a second
            rings_s = 30.0 / per_s  # until it is 36 dB quieter
            ringing = -per_s * np.maximum(np.arange(len(frames_db)) - cut, 0) / self.features.frames_per_s
            fall = np.maximum(np.maximum(fall, ringing[:, None] - 6.0), floor).astype(np.float32)
        spliced = add_sounds(
            np.where(fall > floor, frames_db + fall, np.float32(self.features.floor_db)),
            np.where(rise > floor, after + rise, np.float32(self.features.floor_db)),
        )
        if rings_s and self.causes[index] == SILENCE:  # a last chord belongs to the piano until it has died away
            cut += int(rings_s * self.features.frames_per_s)
        new = labels.copy()
        new[:, cut:] = labels_of(int(self.causes[index]))[:, None]
        return spliced, new

    def _gap(self, frames_db: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put silence of 2 to 5 s into the clip, as between two pieces."""
        rng, per_s = self.rng, self.features.frames_per_s
        length = int(rng.uniform(2.0, 5.0) * per_s)
        start = int(rng.integers(per_s, len(frames_db) - length))
        gap = slice(start, start + length)
        quiet = self._frames(int(rng.choice(self.silences)))[gap]
        ringing = -rng.uniform(30, 200) * np.arange(length, dtype=np.float32)[:, None] / per_s
        with_gap, new = frames_db.copy(), labels.copy()
        with_gap[gap] = add_sounds(quiet, np.maximum(frames_db[start - 1] + ringing, self.features.floor_db))
        new[:, gap] = labels_of(SILENCE)[:, None]
        return with_gap.astype(np.float32), new

    def _colour(self, frames_db: np.ndarray, is_silence: bool) -> np.ndarray:
        """Filter, add noise, mask a band and a time span, and change the level."""
        rng, augment = self.rng, self.augment
        num_frames, num_mels = frames_db.shape
        mels = np.arange(num_mels)
        shape = rng.uniform(-1, 1) * (mels / num_mels - 0.5)
        for _ in range(3):
            shape = shape + rng.uniform(-1, 1) * np.exp(
                -0.5 * ((mels - rng.uniform(0, num_mels)) / rng.uniform(3, 25)) ** 2
            )
        frames_db = frames_db + (augment.equaliser_db * shape).astype(np.float32)
        if rng.random() < augment.lowpass_share:
            cut = rng.uniform(0.6, 1.0) * num_mels
            frames_db = frames_db - np.clip((mels - cut) * rng.uniform(1, 8), 0, 80).astype(np.float32)
        if rng.random() < augment.noise_share and not is_silence:
            floor_db = loudness(frames_db) - rng.uniform(15, 60) + rng.uniform(-10, 10) * (mels / num_mels - 0.5)
            ripple = rng.gumbel(0, 2.0, frames_db.shape)  # about the spread of noise power in dB
            frames_db = add_sounds(frames_db, (floor_db - ripple).astype(np.float32))
        if rng.random() < augment.mask_share:
            start, width = int(rng.integers(num_mels)), int(rng.integers(2, 12))
            frames_db[:, start : start + width] = self.features.floor_db
            start, width = int(rng.integers(num_frames)), int(rng.integers(2, 40))
            frames_db[start : start + width] = self.features.floor_db
        gain_db = 0.0 if is_silence else rng.uniform(-30, 6)
        return np.maximum(frames_db + np.float32(gain_db), np.float32(self.features.floor_db))


def _by_cause_and_source(recorded: Recorded, first: int) -> dict[int, list[np.ndarray]]:
    """cause -> for each of its sources the indices of its clips; `first` is the index of the first recorded clip."""
    names = np.array(recorded.sources)
    found: dict[int, list[np.ndarray]] = {}
    for cause in range(len(CAUSES)):
        is_cause = recorded.clips.causes == cause
        places = [np.flatnonzero(is_cause & (names == name)) + first for name in np.unique(names[is_cause])]
        if places:
            found[cause] = places
    return found


def labels_of(cause: int) -> np.ndarray:
    """(clean solo piano, any piano, cause) as int64; the first two are 0 or 1."""
    return np.array([cause == PIANO, cause in (PIANO, BOTH), cause], np.int64)


def loudness(frames_db: np.ndarray) -> np.float32:
    """Mean power of all frames, in dB."""
    return np.float32(10.0 * np.log10(np.mean(np.power(10.0, frames_db / 10.0)) + 1e-12))


def add_sounds(first_db: np.ndarray, second_db: np.ndarray) -> np.ndarray:
    """The frames of two sounds together, as sums of their powers (unrelated phases)."""
    louder, softer = np.maximum(first_db, second_db), np.minimum(first_db, second_db)
    return louder + np.float32(10.0) * np.log10(np.float32(1.0) + np.power(np.float32(10.0), (softer - louder) / 10.0))
