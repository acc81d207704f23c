"""Pedal, key releases and velocity with and without the heads of transkun, on audio with true MIDI beside it.

    python benchmarks/heads.py FOLDER
    python benchmarks/heads.py FOLDER --by-file

FOLDER holds pairs `name.<audio>` and `name.mid`; `python -m flows.tools.train_heads MIDI_FOLDER --held-out 12` makes
some on held-out pianos. All notes, presses and frames are counted together. Prints a table before and after, the
processor's seconds, and whether onsets and confidences are the same.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from aria_data.audio import IntegrityLimits
from aria_data.midi import Performance, read_midi
from aria_data.midi.playing_accuracy import PlayingAccuracy, compare_playing
from aria_data.transcribe import Compute, Span, TranscribeConfig, TranscriptionResult, backends, transcribe_spans
from aria_data.transcribe.batching import at_speed

GOALS = {
    "frame_f1": ">= 0.90",
    "press_f1": ">= 0.65",
    "share_said": "within 0.05",
    "onset_offset_f1": ">= 0.90",
    "onset_release_f1": ">= 0.78",
    "velocity_slope": "0.95 to 1.05",
    "velocity_error": "<= 5",
}


class Both:
    """The model, whose every window is decoded twice: as published, then with heads. The network runs once."""

    def __init__(self, model: Any):
        self.with_heads, self.published = model, copy.copy(model)
        self.published.heads = None
        self.seconds = {"published": 0.0, "heads": 0.0}
        self.results: list[tuple[TranscriptionResult, TranscriptionResult]] = []  # published, heads; of ended spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self.with_heads, name)

    def decoder(self) -> _BothDecoders:
        return _BothDecoders(self)


class _BothDecoders:
    def __init__(self, both: Both):
        self.both = both
        self.decoders = {"published": both.published.decoder(), "heads": both.with_heads.decoder()}

    def add(self, output: Any) -> None:
        for name, decoder in self.decoders.items():
            with timed(self.both.seconds, name):
                decoder.add(output)

    def finish(self) -> TranscriptionResult:
        found = {}
        for name, decoder in self.decoders.items():
            with timed(self.both.seconds, name):
                found[name] = decoder.finish()
        self.both.results.append((found["published"], found["heads"]))
        return found["heads"]


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add this thread's processor seconds."""
    began = time.thread_time()
    yield
    seconds[name] += time.thread_time() - began


def as_read(pair: tuple[TranscriptionResult, TranscriptionResult], given: TranscriptionResult) -> TranscriptionResult:
    """The published result at the speed of the recording: one that is out of tune is read slower or faster, and only
    the result that was given is back at its own."""
    published, heads = pair
    times = [max((note.onset_s for note in one.performance.notes), default=0.0) for one in (given, heads)]
    return at_speed(published, times[1] / times[0] if times[0] else 1.0)


def compared(truth: Mapping[str, Performance], found: Mapping[str, TranscriptionResult]) -> PlayingAccuracy:
    return compare_playing((truth[name], found[name].performance) for name in truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--by-file", action="store_true")
    parser.add_argument("--without", nargs="*", default=[], help="beginnings of names to leave out")
    options = parser.parse_args()
    audio = [path for path in sorted(options.folder.iterdir()) if path.suffix != ".mid"]
    audio = [path for path in audio if path.with_suffix(".mid").exists()]
    audio = [path for path in audio if not path.name.startswith(tuple(options.without))]
    if not audio:
        sys.exit(f"{options.folder}: holds no pairs of audio and .mid")
    truth = {path.stem: read_midi(path.with_suffix(".mid")) for path in audio}
    both = Both(backends.load(TranscribeConfig(), Compute("cpu", options.dtype, num_threads=1)))
    began = time.process_time()
    after = dict(transcribe_spans(both, [Span(path.stem, path, limits=IntegrityLimits()) for path in audio]))
    took = time.process_time() - began
    before = {name: as_read(pair, after[name]) for name, pair in zip(after, both.results, strict=True)}
    if options.by_file:
        for name in truth:
            print_table(name, *(compared({name: truth[name]}, found) for found in (before, after)))
    print_table(f"all {len(audio)}", compared(truth, before), compared(truth, after))
    alone, added = took - both.seconds["heads"], both.seconds["heads"] - both.seconds["published"]
    print(f"\nprocessor seconds: {alone:.1f} as published, heads add {added:.2f}: {added / alone:+.1%}")
    print(f"onsets and confidences are the same: {all(is_same(*pair) for pair in both.results)}")


def print_table(name: str, before: PlayingAccuracy, after: PlayingAccuracy) -> None:
    print(f"\n{name:28} {'published':>10} {'heads':>10}   goal")
    for field in fields(PlayingAccuracy):
        values = getattr(before, field.name), getattr(after, field.name)
        print(f"{field.name:28} {values[0]:10.4f} {values[1]:10.4f}   {GOALS.get(field.name, '')}")


def is_same(one: TranscriptionResult, other: TranscriptionResult) -> bool:
    """Whether both found the same notes at the same times, and are as sure of them."""
    played = [sorted((note.onset_s, note.pitch) for note in each.performance.notes) for each in (one, other)]
    return played[0] == played[1] and one.confidence == other.confidence


if __name__ == "__main__":
    main()
