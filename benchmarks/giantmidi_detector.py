"""The speed of the classifier beside GiantMIDI-Piano's solo piano detector (Kong et al. 2022), both with decoding.

    python benchmarks/giantmidi_detector.py AUDIO [AUDIO ...]

The detector is written again from its published code, which is no package. Its checkpoint is not asked for: with random
weights the work is the same, and the probabilities mean nothing. librosa loads the file, as it does there. Prints for
each file the processor seconds of both in one thread, how many times real time that is, and the ratio. `make benchmark`
has a line of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE, WINDOW, HOP = 32_000, 2048, 500  # the published values, as all below
NUM_BINS, NUM_FRAMES = 256, 64  # of a second's spectrum
EXTRA_SAMPLES = 1000  # of the next second, for the last frames
CHANNELS = (1, 32, 64, 64, 32)
SECONDS_A_BATCH = 32


@cache
def network() -> Any:
    """Four convolutions, each halved, and two linear layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(CHANNELS, CHANNELS[1:], strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        layers += [nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 50), nn.ReLU(), nn.Linear(50, 2)).eval()


def spectrum(second: np.ndarray) -> np.ndarray:
    """Magnitudes (1, bins, frames) of a second. The published code asks for phases and their angles, too."""
    import librosa

    window = np.sqrt(np.hanning(WINDOW))
    found = librosa.stft(y=second, n_fft=WINDOW, hop_length=HOP, win_length=WINDOW, window=window, pad_mode="constant")
    magnitudes, phases = librosa.magphase(found)
    np.angle(phases)
    return magnitudes[None, :NUM_BINS, :NUM_FRAMES]


def detect(path: Path) -> np.ndarray:
    """Load a file and give a number for each of its whole seconds."""
    import librosa
    import torch

    waveform = librosa.load(path, sr=SAMPLE_RATE, mono=True)[0]
    waveform = waveform / np.sqrt(np.mean(waveform**2)) / 20
    starts = range(0, len(waveform) - SAMPLE_RATE + 1, SAMPLE_RATE)
    found = []
    for first in range(0, len(starts), SECONDS_A_BATCH):
        batch = starts[first : first + SECONDS_A_BATCH]
        spectra = [spectrum(waveform[start : start + SAMPLE_RATE + EXTRA_SAMPLES]) for start in batch]
        inputs = torch.from_numpy(np.transpose(np.array(spectra), (0, 1, 3, 2))).float()
        found.append(network()(inputs).softmax(dim=1).detach().numpy()[:, 1])
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], times: int = 3) -> tuple[float, float]:
    """Give the processor seconds of the fastest of several calls of each, called in turns."""
    best = [float("inf")] * 2
    for _ in range(times):
        for place, work in enumerate((ours, theirs)):
            began = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - began)
    return best[0], best[1]


def both_s(path: Path) -> tuple[float, float, float]:
    """Give the processor seconds of our classifier and of theirs for a file, decoding included, and its length in s."""
    import torch

    from aria_data.audio import mono_blocks
    from classifiers.predict import Classifier

    torch.set_num_threads(1)
    classifier = Classifier.load(device="cpu")

    def ours() -> Any:
        return classifier.score_blocks(mono_blocks(path, classifier.sample_rate))

    audio_s = ours().duration_s
    detect(path)  # what is loaded and compiled once is
    return *in_turns(ours, lambda: detect(path)), audio_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+")
    for path in parser.parse_args().audio:
        ours_s, theirs_s, audio_s = both_s(path)
        ours, theirs = (f"{took_s:.3f} s of the processor, {audio_s / took_s:.0f} x" for took_s in (ours_s, theirs_s))
        print(f"{path.name}, {audio_s:.0f} s: ours {ours}; GiantMIDI's {theirs}; ratio {theirs_s / ours_s:.2f}")


if __name__ == "__main__":
    main()
