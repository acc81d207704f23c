"""Speed of classifying files, decoding included, and the share of each part.

    python benchmarks/classifier_speed.py FOLDER [--limit 300]

Measures decoding alone, decoding and features, the network alone, and the whole as `aria-data classify` runs it
(two threads decode files beside the network). Medians of three; the last line is the ratio to the limit in
seconds of audio per second.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from aria_data.audio import mono_blocks
from aria_data.collect.folder import audio_files
from classifiers.chunks import ChunkStream
from classifiers.predict import Classifier


def median_s(work: Callable[[], object], times: int = 3) -> float:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a folder with audio files")
    parser.add_argument("--limit", type=float, default=300.0, help="x real time that is asked for")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--readers", type=int, default=2, help="threads that decode")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    classifier = Classifier.load(options.weights, options.device)
    paths, rate = audio_files(options.folder), classifier.sample_rate
    blocks = {path: list(mono_blocks(path, rate)) for path in paths}
    audio_s = sum(len(block) for each in blocks.values() for block in each) / rate

    def chunks() -> list:
        return [
            chunk
            for each in blocks.values()
            for chunk in ChunkStream(classifier.features, classifier.config).chunks(each)
        ]

    ready = chunks()

    def network() -> None:
        for chunk in ready:
            classifier._judge_steps(classifier._run([chunk])[0])

    def whole() -> None:
        streams = ((str(path), functools.partial(mono_blocks, path, rate)) for path in paths)
        scored = classifier.score_many(streams, options.readers)
        assert all(not isinstance(found, Exception) for _, found in scored)

    network()
    parts = {
        "decode": median_s(lambda: [np.concatenate(list(mono_blocks(path, rate))) for path in paths]),
        "features": median_s(chunks),
        "network": median_s(network),
    }
    whole_s = median_s(whole)
    print(f"{len(paths)} files, {audio_s:.0f} s of audio, device {classifier.device}")
    for name, took_s in parts.items():
        share = took_s / sum(parts.values())
        print(f"{name:10s} {took_s:8.2f} s  {audio_s / took_s:8.0f}x real time  {share:6.1%} of the parts")
    print(f"{'whole':10s} {whole_s:8.2f} s  {audio_s / whole_s:8.0f}x real time")
    print(f"ratio to {options.limit:.0f}x: {audio_s / whole_s / options.limit:.2f}")


if __name__ == "__main__":
    main()
