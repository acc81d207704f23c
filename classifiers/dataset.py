"""Training data: synthesised clips kept as frames in a folder, and the windows cut from them, changed at random.

A session file is written whole and named by its number, so a stopped run goes on where it was and the content
depends on the seed alone. Windows are mixed and coloured on the fly: adding mel powers is adding sounds.
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

DB_STEP = 0.5  # frames are kept as one byte: half decibels above the floor
RECIPE_MODULES = ("effects", "features", "instruments", "music", "noises", "soundfont", "synthesize")
PIANO, OTHER, BOTH, SPEECH, NOISE, SILENCE = range(len(CAUSES))


@dataclass(frozen=True)
class Clips:
    """All cached clips: frames as bytes, shape (num_clips, num_frames, num_mels), and each clip's cause."""

    frames: np.ndarray
    causes: np.ndarray  # index into CAUSES
    sha256: str


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
    """Of everything that decides what the clips are: change a line of the synthesis and they are made again."""
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
        np.savez(file, frames=frames, causes=causes)
    os.replace(partial, path)


def to_bytes(frames_db: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """dB to half decibels above the floor, 0 to 255."""
    return np.clip(np.round((frames_db - config.floor_db) / DB_STEP), 0, 255).astype(np.uint8)


def load_clips(paths: list[Path]) -> Clips:
    frames, causes, digest = [], [], hashlib.sha256()
    for path in paths:
        with np.load(path) as session:
            frames.append(session["frames"])
            causes.append(session["causes"])
        digest.update(frames[-1].tobytes())
        digest.update(causes[-1].tobytes())
    return Clips(np.concatenate(frames), np.concatenate(causes), digest.hexdigest())


@dataclass(frozen=True)
class AugmentConfig:
    """How batches are changed. Tried by hand on synthetic clips held out; none of it was searched over."""

    mix_share: float = 0.25
    splice_share: float = 0.15
    min_other_db: float = -12.0  # as in SynthesisConfig: from here on it is no solo
    max_other_db: float = 12.0
    faint_other_db: float = -25.0  # up to here a cough, a bird or the street do not spoil a recording
    min_noise_db: float = -3.0
    equaliser_db: float = 7.0
    noise_share: float = 0.4
    lowpass_share: float = 0.15
    mask_share: float = 0.4


@dataclass(frozen=True)
class Batch:
    """Frames (batch, num_frames, num_mels) in dB and, for every frame, what is heard there."""

    frames_db: np.ndarray
    solo: np.ndarray  # (batch, num_frames) 1 where clean solo piano
    any_piano: np.ndarray  # (batch, num_frames) 1 where a piano is heard at all
    cause: np.ndarray  # (batch, num_frames) index into CAUSES


class Batches:
    """An endless stream of changed batches; the same seed gives the same stream."""

    def __init__(self, clips: Clips, features: FeatureConfig, augment: AugmentConfig, batch_size: int, seed: int):
        self.clips, self.features, self.augment, self.batch_size = clips, features, augment, batch_size
        self.rng = np.random.default_rng([seed, 1])
        self.of_cause = [np.flatnonzero(clips.causes == cause) for cause in range(len(CAUSES))]
        self.not_piano = np.flatnonzero(np.isin(clips.causes, (OTHER, SPEECH, NOISE)))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            order = self.rng.permutation(len(self.clips.causes))
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                examples = [self._example(int(index)) for index in order[start : start + self.batch_size]]
                frames, labels = zip(*examples, strict=True)
                solo, any_piano, cause = np.stack(labels, axis=1)
                yield Batch(np.stack(frames), solo.astype(np.float32), any_piano.astype(np.float32), cause)

    def _frames(self, index: int) -> np.ndarray:
        return self.clips.frames[index].astype(np.float32) * DB_STEP + np.float32(self.features.floor_db)

    def _example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng, augment = self.rng, self.augment
        frames_db, cause = self._frames(index), int(self.clips.causes[index])
        labels = np.repeat(labels_of(cause)[:, None], len(frames_db), axis=1)
        kind = rng.random()
        if kind < augment.mix_share and cause in (PIANO, OTHER):
            frames_db, cause = self._mix(frames_db, cause)
            labels = np.repeat(labels_of(cause)[:, None], len(frames_db), axis=1)
        elif kind < augment.mix_share + augment.splice_share:
            frames_db, labels = self._splice(frames_db, labels)
        return self._colour(frames_db, is_silence=cause == SILENCE), labels

    def _mix(self, frames_db: np.ndarray, cause: int) -> tuple[np.ndarray, int]:
        """Put another sound beside this one, at a level that either spoils a solo or clearly does not."""
        rng, augment = self.rng, self.augment
        other = int(rng.choice(self.not_piano))
        other_cause = int(self.clips.causes[other])
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
        """Something else begins within the clip, at a level of its own."""
        index = int(self.rng.integers(len(self.clips.causes)))
        cut = int(self.rng.integers(len(frames_db) // 6, len(frames_db)))
        gain_db = self.rng.uniform(-12, 12) if self.clips.causes[index] != SILENCE else 0.0
        after = self._frames(index)[cut:] + np.float32(gain_db)
        new = np.repeat(labels_of(int(self.clips.causes[index]))[:, None], len(after), axis=1)
        return np.concatenate([frames_db[:cut], after]), np.concatenate([labels[:, :cut], new], axis=1)

    def _colour(self, frames_db: np.ndarray, is_silence: bool) -> np.ndarray:
        """Another microphone, another noise floor, another level, holes."""
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


def labels_of(cause: int) -> np.ndarray:
    """(clean solo piano, any piano, cause) as int64."""
    return np.array([cause == PIANO, cause in (PIANO, BOTH), cause], np.int64)


def loudness(frames_db: np.ndarray) -> np.float32:
    """Mean power of all frames, in dB."""
    return np.float32(10.0 * np.log10(np.mean(np.power(10.0, frames_db / 10.0)) + 1e-12))


def add_sounds(first_db: np.ndarray, second_db: np.ndarray) -> np.ndarray:
    """The frames of two sounds heard together, their phases being unrelated."""
    louder, softer = np.maximum(first_db, second_db), np.minimum(first_db, second_db)
    return louder + np.float32(10.0) * np.log10(np.float32(1.0) + np.power(np.float32(10.0), (softer - louder) / 10.0))
