"""Whether segments are whole pieces: where they begin and end, and whether planted cuts are found.

    python benchmarks/whole_segments.py AUDIO MIDI --count 36 --part 1
    python benchmarks/whole_segments.py AUDIO MIDI --cuts 100
    python benchmarks/whole_segments.py AUDIO MIDI --count 60 --part 2 --seed 7 --instruments FOLDER

AUDIO holds tables `labels.csv` and `full_tracks.csv` (file,label,seconds) and the files they name, MIDI performances.
Programmes are made of one half of both (`--part`), see `programmes.py`; numbers were chosen on both halves, the third
set was judged once, and needs a folder of samples for each instrument. Prints figures of the decoder alone, with pieces
followed to their ends, and with other sound left out: shares of pieces whose begin and end are within a second, mean
IoU, seconds of other sound taken in. `--cuts` plays whole pieces, and the same cut at both ends inside the music, as
files of their own, and prints how often the measure says so.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from programmes import SAMPLE_RATE, THIRD, Programme, Sources, make_pieces, make_programmes

from aria_data.measure.cuts import cut_measures
from aria_data.measure.quality import analyse_sound
from aria_data.segment import Scored, SegmentConfig, find_segments
from classifiers import Classifier

NEAR_S = 1.0
Span = tuple[float, float]


def fit_of(true: tuple[float, float, float], found: Sequence[Span]) -> tuple[float, float, float]:
    """Errors of begin and end in seconds, infinite where nothing was found, and the IoU.

    Any end between the earliest and the latest true one is right.
    """
    start_s, first_s, last_s = true
    best = max(found, key=lambda span: min(span[1], first_s) - max(span[0], start_s), default=None)
    if best is None or min(best[1], first_s) <= max(best[0], start_s):
        return np.inf, np.inf, 0.0
    end_s = min(max(best[1], first_s), last_s)
    both_s = min(best[1], end_s) - max(best[0], start_s)
    return best[0] - start_s, best[1] - end_s, both_s / (max(best[1], end_s) - min(best[0], start_s))


def wrong_seconds(programme: Programme, found: Sequence[Span]) -> Counter[str]:
    """Seconds of what is no piece that were taken in, by label."""
    seconds: Counter[str] = Counter()
    for start_s, end_s, label in programme.between:
        for first_s, _, last_s in programme.true:
            start_s = last_s if first_s <= start_s < last_s else start_s
            end_s = first_s if first_s < end_s <= last_s else end_s
        seconds[label] += sum(max(0.0, min(span[1], end_s) - max(span[0], start_s)) for span in found)
    return seconds


def report(name: str, programmes: Sequence[Programme], found: Sequence[Sequence[Span]]) -> None:
    pairs = list(zip(programmes, found, strict=True))
    fits = np.array([fit_of(true, spans) for programme, spans in pairs for true in programme.true])
    near = np.abs(fits[:, :2]) <= NEAR_S
    wrong = sum((wrong_seconds(*pair) for pair in pairs), Counter())
    print(
        f"{name}: {len(fits)} pieces, begin {near[:, 0].mean():.3f}, end {near[:, 1].mean():.3f}, "
        f"both {near.all(axis=1).mean():.3f}, IoU {fits[:, 2].mean():.4f}; other sound taken in: "
        + ", ".join(f"{label} {seconds:.0f} s" for label, seconds in wrong.items())
    )


def sources_of(options: argparse.Namespace) -> Sources:
    return Sources.of(options.audio, options.midi, options.part, options.instruments)


def evaluate_programmes(options: argparse.Namespace) -> None:
    classifier, programmes = Classifier.load(), []
    alone, followed, whole = [], [], []
    for programme in make_programmes(sources_of(options), options.seed, options.count, options.part):
        scored = Scored.of(classifier.score_blocks([programme.waveform]))
        programmes.append(replace(programme, waveform=np.zeros(0, np.float32)))
        known = (alone, replace(scored, levels_db=None)), (followed, replace(scored, changes=None)), (whole, scored)
        for kept, one in known:
            kept.append([(each.start_s, each.end_s) for each in find_segments("", one, SegmentConfig())])
    report("decoder alone      ", programmes, alone)
    report("pieces followed    ", programmes, followed)
    report("other sound left out", programmes, whole)


def evaluate_cuts(options: argparse.Namespace) -> None:
    found: dict[str, list[float]] = {"planted cuts": [], "whole pieces": []}
    for whole, cut in make_pieces(sources_of(options), options.seed, options.cuts, options.part):
        for kind, waveform in (("planted cuts", cut), ("whole pieces", whole)):
            measures = cut_measures(analyse_sound([waveform[:, None]]), True, True)
            found[kind] += [measures["cut_at_start"], measures["cut_at_end"]]
    for kind, values in found.items():
        print(f"{kind}: {np.mean(np.array(values) == 1.0):.3f} of {len(values)} ends are said to be cut")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("midi", type=Path)
    parser.add_argument("--count", type=int, default=36, help="programmes")
    parser.add_argument("--cuts", type=int, default=0, help="pieces to cut at both ends, instead of programmes")
    parser.add_argument("--part", type=int, default=1, choices=(0, 1, THIRD), help="of everything; 2: the third set")
    parser.add_argument("--instruments", type=Path, help="folder of folders of samples, for the third set")
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    (evaluate_cuts if options.cuts else evaluate_programmes)(options)


if __name__ == "__main__":
    assert SAMPLE_RATE == 16_000  # of the classifier and of the measures
    main()
