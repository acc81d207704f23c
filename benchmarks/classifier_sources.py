"""The gain from training the classifier on real recordings, measured on held-out sources only.

    python benchmarks/classifier_sources.py --train train.csv --labels labels.csv --segments segments.csv \
        --root recordings/ --start synthetic.pt --hold-out 'ishizaka|betts' --hold-out 'membeth|garner'

The CSVs have a column `source`, several joined by `+` where a file holds several. For every `--hold-out` (a regular
expression for sources), a fold, training of the network of `--start` goes on with the other openly licensed recordings
of `--train`. Every file is scored by the first network that was trained on none of its sources; it is an error if no
fold holds out all sources of a file. Prints the same tables twice: for the starting network, then for the folds.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import replace
from pathlib import Path

import torch

from classifiers import checkpoint
from classifiers.predict import Classifier
from classifiers.recordings import is_open
from flows.evaluate import classifier as evaluation
from flows.tools.classify_files import segment_config


def sources_of(path: Path | None) -> dict[str, set[str]]:
    """file -> its sources."""
    found: dict[str, set[str]] = {}
    with open(path, newline="", encoding="utf-8") if path else open("/dev/null") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["file"], set()).update(row["source"].split("+"))
    return found


def trained_on(path: Path) -> set[str]:
    """The sources of a CSV with an openly licensed recording."""
    with open(path, newline="", encoding="utf-8") as file:
        return {row["source"] for row in csv.DictReader(file) if is_open(row["licence"])}


def fold_of(sources: set[str], trained: set[str], folds: list[str]) -> int | None:
    """The first fold that holds out all of `sources` that are in `trained`; None where there is none."""
    wanted = sources & trained
    fits = (number for number, fold in enumerate(folds) if all(re.search(fold, source) for source in wanted))
    return next(fits, None)


def train_fold(options: argparse.Namespace, fold: str, out: Path) -> Path:
    from classifiers import train

    if not out.exists():
        arguments = ["--labels", options.train, "--root", options.root, "--start", options.start, "--hold-out", fold]
        arguments += ["--steps", options.steps, "--learning-rate", options.learning_rate, "--hours", options.hours]
        arguments += ["--out", out, "--cache", options.cache]
        if train.main([str(argument) for argument in arguments]):
            raise SystemExit(f"training without {fold} failed")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--train", "--labels", "--root", "--start"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--segments", type=Path)
    parser.add_argument("--hold-out", action="append", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hours", type=float, default=32.0)
    parser.add_argument("--cache", type=Path, default=Path("build/classifier_cache"))
    parser.add_argument("--out", type=Path, default=Path("build/folds"), help="folder for the networks of the folds")
    parser.add_argument("--set", action="append", default=[], help="a setting of [segment]")
    options = parser.parse_args()
    torch.set_num_threads(2)
    config = segment_config(options.set, 3.0)
    sources = sources_of(options.labels)
    for name, more in sources_of(options.segments).items():
        sources.setdefault(name, set()).update(more)
    trained = trained_on(options.train)
    folds = {name: fold_of(found, trained, options.hold_out) for name, found in sources.items()}
    unfit = [name for name, fold in folds.items() if fold is None]
    if unfit:
        print(f"no fold holds out all sources of {', '.join(unfit)}", file=sys.stderr)
        return 2
    clips = evaluation.read_labels(options.labels)
    programmes = evaluation.read_labels(options.segments) if options.segments else []
    start = Classifier(checkpoint.load(options.start))
    print("== the starting network")
    evaluation.print_tables(evaluation.evaluate(clips, programmes, options.root, start, config))
    whole = evaluation.Evaluation([], [], {})
    for number, fold in enumerate(options.hold_out):
        path = train_fold(options, fold, options.out / f"fold{number}.pt")
        held_out = [[row for row in rows if folds[row.file] == number] for rows in (clips, programmes)]
        if any(held_out):
            found = evaluation.evaluate(*held_out, options.root, Classifier(checkpoint.load(path)), config)
            whole = replace(whole, clips=whole.clips + found.clips, programmes=whole.programmes + found.programmes)
    print("\n== after training with the other sources")
    evaluation.print_tables(whole)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
