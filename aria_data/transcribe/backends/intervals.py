"""Decode intervals (Yan & Duan, neural semi-CRF): the notes with the best total score on each of 90 tracks.

The notes of a track do not overlap. At each frame the path stays silent until the next frame (score 0), or takes a
note to a later frame, on which the next note may begin; it may also take a note of this single frame. The best path
from each frame onwards is found backwards in time, so it does not depend on the window before; only the frame from
which it is followed does. A second pass gives the probability that a note begins at each frame.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

SILENT = -1
NEGLIGIBLE_NATS = 20.0  # a path so much less likely than the best adds under 1e-8 to a probability
NUM_ROW_BLOCKS = 8  # an interval ends after it begins: the blocks leave out most pairs where it would not


@dataclass(frozen=True, slots=True)
class Lattice:
    """The best path from every frame of every track of one window onwards, and the probability of onsets."""

    ends: np.ndarray  # int16 (tracks, frames): the frame in which the best note that begins here ends, or SILENT
    is_single: np.ndarray  # bool (tracks, frames): whether a note of this one frame is taken
    onset_probability: np.ndarray  # float32 (tracks, frames): expected number of notes that begin here, about 0 to 1

    @property
    def is_finite(self) -> bool:
        """Whether all scores were finite."""
        return bool(np.isfinite(self.onset_probability).all())

    def followed_by_silence(self, num_frames: int) -> Lattice:
        """The same with `num_frames` frames in all."""
        more = ((0, 0), (0, num_frames - self.ends.shape[1]))
        ends = np.pad(self.ends, more, constant_values=SILENT)
        return Lattice(ends, np.pad(self.is_single, more), np.pad(self.onset_probability, more))

    def path(self, track: int, start: int) -> list[tuple[int, int]]:
        """Give the notes of one track as (first frame, last frame), from frame `start` on."""
        ends, is_single = self.ends[track], self.is_single[track]
        notes, frame, last = [], start, self.ends.shape[1] - 1
        stops = np.flatnonzero(is_single | (ends != SILENT))
        while frame <= last:
            index = int(np.searchsorted(stops, frame))
            if index == len(stops):
                break
            frame = int(stops[index])
            if is_single[frame]:
                notes.append((frame, frame))
            if ends[frame] == SILENT:
                frame += 1
            else:
                notes.append((frame, int(ends[frame])))
                frame = int(ends[frame])
        return notes


def decode(begins: Any, ends: Any, single: Any) -> Lattice:
    """Decode one window on the CPU. Shapes as in `transkun_network.Scores`, without the batch."""
    return decode_tracks(zip(begins, ends, single, strict=True), *single.shape)


def decode_tracks(tracks: Iterable[tuple[Any, Any, Any]], num_tracks: int, num_frames: int) -> Lattice:
    """Decode one window on the CPU, one track at a time, which stays in the cache.

    Takes begins, ends and single of each track.
    """
    import torch

    walk = _compiled_walk()
    found = np.empty((num_tracks, num_frames), np.int16)
    probability = np.empty((num_tracks, num_frames), np.float32)
    is_single = np.empty((num_tracks, num_frames), bool)
    scores = torch.empty(num_frames, num_frames)
    bounds = [num_frames * block // NUM_ROW_BLOCKS for block in range(NUM_ROW_BLOCKS + 1)]
    for track, (begins, ends, single) in enumerate(tracks):
        for first, after in zip(bounds, bounds[1:], strict=False):
            torch.mm(begins[first:after], ends[first:].t(), out=scores[first:after, first:])
        of_single = single.contiguous().numpy()
        walk(scores.numpy(), of_single, found[track], probability[track])
        is_single[track] = of_single > 0
    return Lattice(found, is_single, probability)


def silence(num_tracks: int, num_frames: int) -> Lattice:
    """Give the lattice of a window in which nothing sounds."""
    shape = num_tracks, num_frames
    return Lattice(np.full(shape, SILENT, np.int16), np.zeros(shape, bool), np.zeros(shape, np.float32))


def decode_batch(scores: Any) -> list[Lattice]:
    """Decode a batch of windows on its own device: frame after frame, all tracks of all windows at once.

    Takes `transkun_network.Scores`. Gives what `decode` gives, up to rounding: a GPU adds in another order.
    """
    import torch

    batch, tracks, frames, _ = scores.begins.shape
    pair = scores.begins.flatten(0, 1) @ scores.ends.flatten(0, 1).transpose(1, 2)  # (windows * tracks, begin, end)
    place = torch.arange(frames, device=pair.device)
    pair *= (place[None, :] - place[:, None]).clamp(min=0)
    single = scores.single.flatten(0, 1).float()
    best, weight = torch.empty_like(single), torch.empty_like(single)
    onward, found = torch.zeros_like(single), torch.full_like(single, SILENT, dtype=torch.int16)
    best[:, -1], weight[:, -1] = single[:, -1].clamp(min=0), torch.nn.functional.softplus(single[:, -1])
    for begin in range(frames - 2, -1, -1):
        row = pair[:, begin, begin + 1 :]
        top, index = (row + best[:, begin + 1 :]).max(dim=1)
        silent = best[:, begin + 1]
        found[:, begin] = torch.where(top > silent, index + (begin + 1), SILENT)
        best[:, begin] = torch.maximum(top, silent) + single[:, begin].clamp(min=0)
        onward[:, begin] = torch.logaddexp(weight[:, begin + 1], (row + weight[:, begin + 1 :]).logsumexp(dim=1))
        weight[:, begin] = onward[:, begin] + torch.nn.functional.softplus(single[:, begin])
    passing, of_notes = torch.zeros_like(single), torch.zeros_like(single)
    passing[:, 0] = 1.0
    for begin in range(frames - 1):
        here = passing[:, begin]
        silent = (weight[:, begin + 1] - onward[:, begin]).exp().clamp(max=1.0)
        of_notes[:, begin] = 1.0 - silent
        passing[:, begin + 1 :] += (
            here[:, None] * (pair[:, begin, begin + 1 :] + weight[:, begin + 1 :] - onward[:, begin, None]).exp()
        )
        passing[:, begin + 1] += here * silent
    probability = (passing * (of_notes + single.sigmoid())).view(batch, tracks, frames).cpu().numpy()
    found_, is_single = found.view(batch, tracks, frames).cpu().numpy(), (scores.single > 0).cpu().numpy()
    return [Lattice(*one) for one in zip(found_, is_single, probability, strict=True)]


@functools.cache
def _compiled_walk() -> Any:
    import numba

    flags = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: LLVM may then do anything with an infinity
    try:
        return numba.njit(cache=True, nogil=True, fastmath=flags)(_walk)
    except RuntimeError:  # no folder where compiled code may be kept: compile again in every process
        return numba.njit(nogil=True, fastmath=flags)(_walk)


def _walk(scores, single, found, probability):
    """Decode one track: `scores[b, e]` is per frame of length, upper half only. Fills `found` and `probability`.

    Backwards: the best score (`best`) and the logarithm of the summed weight (`weight`) of all paths from each frame
    onwards. Forwards: the probability of passing each frame, and of a note that begins there.
    """
    num_frames = len(single)
    best = np.empty(num_frames, np.float32)
    weight = np.empty(num_frames, np.float32)
    onward = np.empty(num_frames, np.float32)  # weight without the note of this single frame
    length = np.arange(num_frames).astype(np.float32)
    last = num_frames - 1
    for begin in range(last, -1, -1):
        found[begin] = -1
        top = np.float32(0.0)
        total = np.float32(0.0)
        if begin < last:
            row = scores[begin, begin + 1 :]
            num = last - begin
            after_best = best[begin + 1 :]
            after_weight = weight[begin + 1 :]
            steps = length[1 : num + 1]
            top_note = np.float32(-1e30)
            top_weight = np.float32(-1e30)
            for index in range(num):
                score = row[index] * steps[index]
                top_note = max(top_note, score + after_best[index])
                top_weight = max(top_weight, score + after_weight[index])
            top = after_best[0]
            if top_note > top:
                top_note = np.float32(-1e30)
                for index in range(num):
                    score = row[index] * steps[index] + after_best[index]
                    if score > top_note:
                        top_note = score
                        found[begin] = begin + 1 + index
                top = top_note
            total = after_weight[0]
            if top_weight > total - NEGLIGIBLE_NATS:
                level = max(total, top_weight)
                mass = np.exp(total - level)
                for index in range(num):
                    less = row[index] * steps[index] + after_weight[index] - level
                    if less > -NEGLIGIBLE_NATS:
                        mass += np.exp(less)
                total = level + np.log(mass)
        onward[begin] = total
        best[begin] = top + max(single[begin], np.float32(0.0))
        extra = single[begin]
        weight[begin] = total + (extra + np.log1p(np.exp(-extra)) if extra > 0 else np.log1p(np.exp(extra)))
    passing = np.zeros(num_frames, np.float32)
    passing[0] = 1.0
    for begin in range(num_frames):
        here = passing[begin]
        probability[begin] = 0.0
        if here < 1e-7:
            continue
        of_single = 1.0 / (1.0 + np.exp(-single[begin]))
        of_note = np.float32(0.0)
        if begin < last:
            silent = np.exp(weight[begin + 1] - onward[begin])
            of_note = max(np.float32(0.0), np.float32(1.0 - silent))
            passing[begin + 1] += here * min(silent, np.float32(1.0))
            if here * of_note > 1e-7:
                for end in range(begin + 1, num_frames):
                    less = scores[begin, end] * length[end - begin] + weight[end] - onward[begin]
                    if less > -NEGLIGIBLE_NATS:
                        passing[end] += here * np.exp(less)
        probability[begin] = here * (of_note + of_single)
