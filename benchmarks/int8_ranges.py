"""Which values transkun's linear layers read, and what 8-bit integers cost, block by block.

    python benchmarks/int8_ranges.py FOLDER                         the error of each block on every file
    python benchmarks/int8_ranges.py FOLDER --write NAME NAME ...   measure ranges on these files first, and keep them

FOLDER holds rendered piano, a name is a file's without its ending. One window of each file is used. The ranges go to
`aria_data/transcribe/backends/transkun_ranges.npz` with the hash of the weights they belong to. Errors are relative:
the norm of the difference from float32, over the norm.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.audio import AudioReader
from aria_data.transcribe import Compute, TranscribeConfig, backends
from aria_data.transcribe.backends import transkun, transkun_int8
from aria_data.transcribe.backends.transkun_layers import Linear


def window_of(path: Path, model: Any) -> Any:
    """Give the window of a file that begins 5 s after its start, as (1, channels, samples)."""
    import torch

    with AudioReader(path, model.sample_rate, model.num_channels) as reader:
        waveform = np.concatenate(list(reader.blocks()))[5 * model.sample_rate :][: model.window]
    waveform = np.pad(waveform, ((0, model.window - len(waveform)), (0, 0)))
    return torch.from_numpy(np.ascontiguousarray(waveform.T))[None]


def loaded(dtype: str) -> Any:
    return backends.load(TranscribeConfig(), Compute("cpu", dtype))


def layers_of(network: Any) -> dict[int, tuple[str, Any]]:
    """Give those of the float32 network's linear layers that may be rounded, by their id, each with its name."""
    found = {}
    for number, block in enumerate(network._blocks):
        for name in ("frequency", "time"):
            half = getattr(block, name)
            parts = {"query": half.query, "out": half.out, **vars(half.feed_forward)}
            found |= {id(layer): f"{number}.{name}.{part}" for part, layer in parts.items()}
    return found


def measure(network: Any, windows: list[Any]) -> dict[str, np.ndarray]:
    """Give the lowest, highest and mean value of each input channel of each linear layer."""
    import torch

    names, found = layers_of(network), {}
    called = Linear.__call__

    def call(layer: Any, values: Any) -> Any:
        if id(layer) not in names:
            return called(layer, values)
        seen = torch.nn.functional.rms_norm(values, values.shape[-1:], eps=1e-6) if layer.normalise else values
        seen = seen.flatten(0, -2)
        lowest, highest, total = (part.numpy() for part in (seen.amin(0), seen.amax(0), seen.double().sum(0)))
        if names[id(layer)] in found:
            before = found[names[id(layer)]]
            lowest, highest = np.minimum(lowest, before[0]), np.maximum(highest, before[1])
            total, number = total + before[2], len(seen) + before[3]
        else:
            number = len(seen)
        found[names[id(layer)]] = lowest, highest, total, number
        return called(layer, values)

    Linear.__call__ = call  # type: ignore[method-assign]
    try:
        for window in windows:
            network.infer(window)
    finally:
        Linear.__call__ = called  # type: ignore[method-assign]
    return {
        name: np.stack([low, high, total / number], dtype=np.float32, casting="same_kind")
        for name, (low, high, total, number) in found.items()
    }


def blocks_of(network: Any, tokens: Any) -> list[Any]:
    """Give the stream after each block."""
    found = []
    for block in network._blocks:
        is_last = block is network._blocks[-1]
        tokens = block(tokens, network._rows, only_last=network._num_targets if is_last else None)
        found.append(tokens)
    return found


def errors(exact: Any, rounded: Any, window: Any) -> list[float]:
    """Give the error after each block, which adds to that of the blocks before, then of the three scores."""
    import torch

    with torch.inference_mode():
        features = exact._spectrum(window)
        sides = []
        for network in (exact, rounded):
            tokens = network._patches(features)
            streams = blocks_of(network, tokens)
            scores = network._heads.scores(streams[-1][:, 1:].transpose(1, 2), num_frames=features.shape[1])
            sides.append([*streams, scores.begins, scores.ends, scores.single])
    return [float((one - other).norm() / one.norm()) for one, other in zip(*sides, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", nargs="+", default=[], metavar="NAME")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.iterdir() if path.suffix not in (".mid", ".csv", ".txt"))
    exact = loaded("float32")
    if arguments.write:
        chosen = [path for path in files if path.stem in arguments.write]
        if len(chosen) != len(arguments.write):
            sys.exit(f"{arguments.folder}: has not all of {', '.join(arguments.write)}")
        found = measure(exact.network, [window_of(path, exact) for path in chosen])
        sha256 = transkun.weights_sha256(TranscribeConfig())
        np.savez_compressed(transkun_int8.RANGES, weights=sha256, **found)
    rounded = loaded("int8")
    blocks = [f"block {number}" for number in range(len(exact.network._blocks))]
    columns = [*blocks, "begins", "ends", "single"]
    print(f"{'error against float32':24} " + " ".join(f"{name:>8}" for name in columns))
    for path in files:
        found = errors(exact.network, rounded.network, window_of(path, exact))
        print(f"{path.stem[:24]:24} " + " ".join(f"{error:8.4f}" for error in found), flush=True)


if __name__ == "__main__":
    main()
