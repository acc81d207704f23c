"""Candidates among many scores: seconds, memory and exponents of 10^4 to 10^5 segments and up to 10^3 scores.

    python benchmarks/alignment_scale.py [--segments 100000] [--scores 1000]

Scores are random walks over a scale in two voices, of 2,400 notes. A segment is an excerpt of 300 to 1,500 notes of
one of them, with 4 % of its notes wrong, 3 % left out and chords in another order; every fifth is of no score here.
Asked is what `aria-data align` asks for each segment: the scores that it may be of, by the index of notes. All pairs
would be 10^8.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from aria_data.align import AlignConfig, ScoreIndex
from aria_data.align.scores import Score

SCALE = np.array((0, 2, 4, 5, 7, 9, 11))
NUM_NOTES = 2_400


def made_score(number: int) -> Score:
    random = np.random.default_rng(number)
    places = np.cumsum(random.integers(-3, 4, (2, NUM_NOTES // 2)), axis=1) % 21
    voices = random.integers(0, 12) + np.array([[36], [60]]) + 12 * (places // 7) + SCALE[places % 7]
    pitch, onset = voices.T.ravel().astype(np.uint8), np.repeat(np.arange(NUM_NOTES // 2) / 2.0, 2)
    no, zero = np.zeros(NUM_NOTES, bool), np.zeros(0)
    return Score(
        f"{number}.musicxml", f"{number:064x}", "", "", "", onset, np.full(NUM_NOTES, 0.5), pitch, no, (), zero, zero,
        zero, np.zeros(0, bool), (), zero, zero,
    )  # fmt: skip


def played(score: Score, random: np.random.Generator) -> np.ndarray:
    """The pitches of an excerpt, in the order in which a person struck them."""
    count = int(random.integers(300, 1_500))
    first = int(random.integers(0, NUM_NOTES - count))
    pitch = score.pitch[first : first + count].copy()
    pitch = pitch[np.argsort(np.arange(count) // 2 * 2 + random.random(count), kind="stable")]
    is_wrong = random.random(count) < 0.04
    pitch[is_wrong] += random.integers(-2, 3, int(is_wrong.sum())).astype(np.uint8)
    return pitch[random.random(count) >= 0.03]


def measure(index: ScoreIndex, scores: list[Score], num_segments: int) -> tuple[float, float, float]:
    """Processor seconds of all searches; shares of segments whose first candidate is theirs, and of others with one."""
    config, random, spent_s = AlignConfig(), np.random.default_rng(1), 0.0
    num_right = num_foreign = num_wrong = 0
    for number in range(num_segments):
        is_foreign = number % 5 == 4
        score = made_score(10**6 + number) if is_foreign else scores[int(random.integers(len(scores)))]
        pitch = played(score, random)
        began_s = time.process_time()
        found = index.candidates(pitch, "", config.max_candidates, config.min_shared)
        spent_s += time.process_time() - began_s
        num_foreign += is_foreign
        num_right += bool(found) and found[0].score is score
        num_wrong += is_foreign and bool(found)
    return spent_s, num_right / max(num_segments - num_foreign, 1), num_wrong / max(num_foreign, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--scores", type=int, default=1_000)
    options = parser.parse_args()
    scores = [made_score(number) for number in range(options.scores)]
    times: dict[tuple[int, int], float] = {}
    few = options.segments // 10
    for num_scores, num_segments in (
        (options.scores // 10, few),
        (options.scores, few),
        (options.scores, options.segments),
    ):
        began_s = time.process_time()
        index = ScoreIndex(scores[:num_scores])
        indexed_s = time.process_time() - began_s
        spent_s, right, wrong = measure(index, scores[:num_scores], num_segments)
        times[num_scores, num_segments] = spent_s
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{num_segments:7,} segments, {num_scores:5,} scores: indexed in {indexed_s:.1f} s, "
            f"searched in {spent_s:.1f} s ({1e3 * spent_s / num_segments:.2f} ms each), "
            f"the right one first {right:.4f}, of those without a score {wrong:.4f} have a candidate; {peak_gb:.2f} GB",
            flush=True,
        )
    few_scores, all_scores, all_segments = times.values()
    of_scores, of_segments = np.log10(all_scores / few_scores), np.log10(all_segments / all_scores)
    print(f"exponent in scores {of_scores:.2f}, in segments {of_segments:.2f}")


if __name__ == "__main__":
    main()
