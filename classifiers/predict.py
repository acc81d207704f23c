"""Use the classifier: a stream of audio in, one probability of clean solo piano for each second out.

    classifier = Classifier.load()
    result = classifier.score_file("recital.mp3")
    result.scores[i]  # from i * result.hop_s to (i + 1) * result.hop_s

Nothing is decided here; `aria_data.segment` finds the segments of a build.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from classifiers import checkpoint
from classifiers.chunks import Chunk, ChunkReaders, ChunkStream, frames_of_chunk
from classifiers.features import read_blocks

if TYPE_CHECKING:
    from classifiers.on_cpu.folded import FoldedNet

SMOOTHING = (0.25, 0.5, 0.25)  # weights of the logits of three neighbouring windows
COMPARED_S = 3.0  # what is compared before and after a step
LEAST_S = 1.0  # of it, at a file's edge
APART_S = 0.25  # left out on either side of the step


@dataclass(frozen=True)
class WindowScores:
    """Probabilities for every `hop_s` of a recording, all float32, 0 to 1; the last hop may be shorter.

    `scores` (n,): clean solo piano in the 5 s around the hop. `any_piano` (n,): a piano sounds, alone or not. `causes`
    (n, len(cause_names)): probabilities of `cause_names`, each row summing to 1. `local_scores` (m,): clean solo piano
    in every `step_s` alone, less accurate than `scores` but with sharper boundaries; `local_any_piano` (m,): a piano
    sounds in it, alone or not. `levels_db` (m,): the loudest frame of every step, dB. `changes` (m,): how much what
    sounds changes where the step begins (`sound_changes`). `duration_s`: seconds decoded.
    """

    scores: np.ndarray
    any_piano: np.ndarray
    causes: np.ndarray
    cause_names: tuple[str, ...]
    local_scores: np.ndarray
    hop_s: float
    step_s: float
    duration_s: float
    local_any_piano: np.ndarray | None = None  # None: from who does not know it
    levels_db: np.ndarray | None = None
    changes: np.ndarray | None = None

    @property
    def main_cause(self) -> str:
        """The cause with the largest mean probability; "silence" for an empty recording."""
        return self.cause_names[int(self.causes.mean(axis=0).argmax())] if len(self.causes) else "silence"


class DeviceInvalid(ValueError):
    """The device does not exist or cannot be used."""


def device_of(name: str) -> str:
    """Check a torch device; "auto" gives the first GPU, else the CPU. Raises `DeviceInvalid` for one it cannot use."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DeviceInvalid(f"device {name!r} cannot be used ({reason}). Known: auto, cpu, cuda, cuda:1.") from None
    return name


@contextmanager
def single_threaded(is_wanted: bool) -> Iterator[None]:
    """While the block runs, limit torch and NumPy to one thread each, so that decoding threads have the other cores."""
    import torch
    from threadpoolctl import threadpool_limits

    if not is_wanted:
        yield
        return
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(num_threads)


class Steps(NamedTuple):
    """What the trunk gives for each step: `features` (steps, features) in float16, `levels_db` (steps,)."""

    features: np.ndarray
    levels_db: np.ndarray


class Classifier:
    """A loaded network. Keep it as long as the process runs; do not share it between threads."""

    def __init__(self, loaded: checkpoint.Checkpoint, device: str = "cpu"):
        from classifiers.model import ModelConfig, PianoNet
        from classifiers.on_cpu.folded import FoldedNet

        self.features, self.sha256, self.cause_names = loaded.features, loaded.sha256, loaded.causes
        self.provenance, self.device = loaded.provenance, device_of(device)
        self.config = ModelConfig(**loaded.model)
        self._model = PianoNet(self.config)
        try:
            self._model.load_state_dict(loaded.weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise checkpoint.CheckpointInvalid(f"weights do not fit this version's network ({reason})") from None
        self._model = self._model.eval().to(self.device)
        self._folded = FoldedNet(self._model) if self.device == "cpu" else None

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> Classifier:
        """Load the checkpoint at `path`, or this package's. Raises `CheckpointInvalid` or `DeviceInvalid`."""
        return cls(checkpoint.load(Path(path) if path else checkpoint.DEFAULT_PATH), device)

    @property
    def sample_rate(self) -> int:
        return self.features.sample_rate

    @property
    def hop_s(self) -> float:
        return float(self.config.hop_s)

    @property
    def step_s(self) -> float:
        return 1.0 / self.config.steps_per_s

    def score_file(self, path: str | Path) -> WindowScores:
        """Decode a file of any format FFmpeg reads, block by block, and score it."""
        return self.score_blocks(read_blocks(path, self.sample_rate))

    def score_blocks(self, blocks: Iterable[np.ndarray]) -> WindowScores:
        """Score mono float32 blocks of any lengths at `sample_rate`.

        Memory does not grow with the recording, except by 2 kB a second (75 MB for ten hours).
        How the sound is cut into blocks does not change the result.
        """
        stream = ChunkStream(self.features, self.config)
        steps = [self._run([chunk])[0] for chunk in stream.chunks(blocks)]
        return self._scores(steps, stream.duration_s)

    def score_many(
        self, streams: Iterable[tuple[str, Callable[[], Iterable[np.ndarray]]]], num_readers: int = 2
    ) -> Iterator[tuple[str, WindowScores | Exception]]:
        """Score several recordings at the same time: decoded in threads, chunks of all of them in one batch.

        Each stream is a key and a function that opens its blocks. Gives (key, scores) as recordings are finished, or
        (key, exception) where reading the blocks raised one. The scores are those of `score_blocks`.
        """
        waiting: dict[str, list[Steps]] = {}
        readers = ChunkReaders(streams, self.features, self.config, num_readers, self.batch_size)
        with single_threaded(self.device == "cpu" and num_readers > 1), readers:
            while batch := readers.next_batch():
                chunks = [(key, found) for key, found in batch if isinstance(found, Chunk)]
                for (key, _), steps in zip(chunks, self._run([chunk for _, chunk in chunks]), strict=True):
                    waiting.setdefault(key, []).append(steps)
                for key, found in batch:
                    if isinstance(found, Exception):
                        waiting.pop(key, None)
                        yield key, found
                    elif isinstance(found, float):
                        yield key, self._scores(waiting.pop(key, []), found)

    @property
    def batch_size(self) -> int:
        """Queue entries (chunks of 48 s, and ends of recordings) in a batch. The value for a GPU was not measured."""
        return 2 if self.device == "cpu" else 32

    def _scores(self, steps: Sequence[Steps], duration_s: float) -> WindowScores:
        num_hops, num_steps = math.ceil(duration_s / self.hop_s), math.ceil(duration_s / self.step_s)
        if num_hops == 0:
            empty, no_causes = np.zeros(0, np.float32), np.zeros((0, len(self.cause_names)), np.float32)
            of_windows = empty, empty, no_causes, self.cause_names, empty
            return WindowScores(*of_windows, self.hop_s, self.step_s, 0.0, empty, empty, empty)
        features = np.concatenate([each.features for each in steps])[:num_steps]
        logits = _smooth(self._judge(features, num_hops))
        odds = np.exp(logits[:, 2:] - logits[:, 2:].max(axis=1, keepdims=True))
        local = _sigmoid(self._judge_steps(features))
        return WindowScores(
            scores=_sigmoid(logits[:, 0]),
            any_piano=_sigmoid(logits[:, 1]),
            causes=odds / odds.sum(axis=1, keepdims=True),
            cause_names=self.cause_names,
            local_scores=local[:, 0],
            hop_s=self.hop_s,
            step_s=self.step_s,
            duration_s=duration_s,
            local_any_piano=local[:, 1],
            levels_db=np.concatenate([each.levels_db for each in steps])[:num_steps],
            changes=sound_changes(features, self.config.steps_per_s),
        )

    def _run(self, chunks: Sequence[Chunk]) -> list[Steps]:
        """The trunk's output for each chunk's own steps, and how loud they are."""
        import torch

        if not chunks:
            return []
        if self._folded is not None:
            return [Steps(self._folded_steps(chunk, self._folded), self._levels(chunk)) for chunk in chunks]
        longest, floor_db = frames_of_chunk(self.config), self.features.floor_db
        frames = torch.from_numpy(np.stack([chunk.padded(longest, floor_db) for chunk in chunks])).to(self.device)
        with torch.inference_mode():
            steps = self._model.steps(frames).transpose(1, 2).half().cpu().numpy()
        own = [slice(chunk.first, chunk.first + chunk.num_steps) for chunk in chunks]
        return [Steps(row[part], self._levels(chunk)) for row, chunk, part in zip(steps, chunks, own, strict=True)]

    def _levels(self, chunk: Chunk) -> np.ndarray:
        """The level of each of the chunk's own steps, in dB."""
        per_step = self.config.frames_per_step
        last = (chunk.first + chunk.num_steps) * per_step
        return step_levels(chunk.padded(last, self.features.floor_db)[chunk.first * per_step : last], per_step)

    def _folded_steps(self, chunk: Chunk, net: FoldedNet) -> np.ndarray:
        import torch

        own = (chunk.first + chunk.num_steps) * self.config.frames_per_step
        frames = torch.from_numpy(chunk.padded(own + net.frames_after, self.features.floor_db))
        with torch.inference_mode():
            return net.steps(frames, chunk.first, chunk.num_steps).half().numpy()

    def _judge(self, steps: np.ndarray, num_hops: int) -> np.ndarray:
        """Logits (num_hops, 2 + causes) of the window centred on each hop; at the edges, of the nearest window."""
        import torch

        per_hop, length = self.config.hop_s * self.config.steps_per_s, self.config.window_s * self.config.steps_per_s
        length = min(length, len(steps))
        starts = np.arange(num_hops) * per_hop - (length - per_hop) // 2
        starts = np.clip(starts, 0, len(steps) - length)
        out = []
        for first in range(0, num_hops, 512):
            places = starts[first : first + 512, None] + np.arange(length)
            windows = torch.from_numpy(steps[places].astype(np.float32)).to(self.device)
            with torch.inference_mode():
                logits = self._model.judge(windows.permute(2, 0, 1)[None])
            solo, any_piano, causes = (part[0].float().cpu().numpy() for part in logits)
            out.append(np.concatenate([solo[:, None], any_piano[:, None], causes], axis=1))
        return np.concatenate(out)

    def _judge_steps(self, steps: np.ndarray) -> np.ndarray:
        """Logits of solo piano and of any piano of every step, (steps, 2)."""
        import torch

        out = []
        for first in range(0, len(steps), 4096):
            piece = torch.from_numpy(steps[first : first + 4096].astype(np.float32)).to(self.device)
            with torch.inference_mode():
                logits = self._model.judge_steps(piece.T[None])
                both = torch.stack([logits.solo[0], logits.any_piano[0]], dim=1)
            out.append(both.float().cpu().numpy())
        return np.concatenate(out)


def step_levels(frames_db: np.ndarray, frames_per_step: int) -> np.ndarray:
    """The level of the loudest frame of every step, in dB: frames (num_frames, num_mels) in, float32 (steps,) out."""
    loudness = 10.0 * np.log10(np.power(10.0, frames_db / 10.0).mean(axis=1) + 1e-12)
    return loudness.reshape(-1, frames_per_step).max(axis=1).astype(np.float32)


def sound_changes(features: np.ndarray, steps_per_s: int) -> np.ndarray:
    """How much what sounds changes where each step begins, 0 to 1: features (steps, features) in, float32 (steps,) out.

    1 less the cosine between the trunk's mean features in the 3 s before and the 3 s after, a quarter of a second on
    either side left out: inside a piece under 0.2 in 19 of 20 steps, where another sound begins over 0.5 (LOG.md).
    """
    length, apart, block = round(COMPARED_S * steps_per_s), max(1, round(APART_S * steps_per_s)), 4096
    num_steps, reach = len(features), length + apart
    changes = np.zeros(num_steps, np.float32)
    for first in range(0, num_steps, block):  # a recording may last ten hours
        low, high = max(0, first - reach), min(num_steps, first + block + reach)
        at = np.arange(first, min(num_steps, first + block)) - low
        begin, end = np.maximum(0, at - reach), np.minimum(high - low, at + reach)
        before, after = np.maximum(begin, at - apart), np.minimum(end, at + apart)
        sums = np.pad(np.cumsum(features[low:high], axis=0, dtype=float), ((1, 0), (0, 0)))
        left, right = sums[before] - sums[begin], sums[end] - sums[after]
        likeness = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1) + 1e-12)
        is_known = np.minimum(before - begin, end - after) >= LEAST_S * steps_per_s
        changes[first : first + block] = np.where(is_known, 1.0 - likeness, 0.0)
    return changes


def _smooth(logits: np.ndarray) -> np.ndarray:
    padded = np.pad(logits, ((1, 1), (0, 0)), mode="edge")
    return np.sum([weight * padded[i : i + len(logits)] for i, weight in enumerate(SMOOTHING)], axis=0)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))).astype(np.float32)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m classifiers.predict",
        description="How likely is clean solo piano, second by second?",
        epilog="example: python -m classifiers.predict recital.mp3 --json > scores.json",
    )
    parser.add_argument("files", nargs="+", type=Path, help="audio files of any format FFmpeg reads")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the score of every second")
    parser.add_argument("--weights", type=Path, help="checkpoint to use instead of this project's")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(arguments)
    try:
        classifier = Classifier.load(options.weights, options.device)
    except (checkpoint.CheckpointInvalid, DeviceInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        failed = [path for path in options.files if not _report(classifier, path, options.json)]
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 1 if failed else 0


def _report(classifier: Classifier, path: Path, as_json: bool) -> bool:
    import av

    started = time.monotonic()
    try:
        result = classifier.score_file(path)
    except (OSError, ValueError, av.error.FFmpegError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False
    if as_json:
        row = {
            "file": str(path).encode(errors="backslashreplace").decode(),
            "hop_s": result.hop_s,
            "duration_s": round(result.duration_s, 3),
        }
        row |= {"main_cause": result.main_cause, "classifier_sha256": classifier.sha256}
        row |= {name: [round(float(v), 4) for v in getattr(result, name)] for name in ("scores", "any_piano")}
        print(json.dumps(row))
    else:
        speed = result.duration_s / max(time.monotonic() - started, 1e-9)
        mean = float(result.scores.mean()) if len(result.scores) else 0.0
        print(f"{path}  mean {mean:.3f}  {result.main_cause}  {result.duration_s:.1f} s  ({speed:.0f}x real time)")
        print("  " + "".join(" ▁▂▃▄▅▆▇█"[min(8, int(value * 9))] for value in result.scores))
    return True


if __name__ == "__main__":
    raise SystemExit(main())
