"""Train the title model: `python -m aria_data.screen.title_training --works WORKS --labels LABELS.csv --output FOLDER`.

First the words (a logistic regression over hashed features) of all works, and for each fold those of the works of other
composers. Then what the words are joined with, on titles of composers that they did not see (`title_combination.py`).
The same tables give the same weights to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from aria_data.screen.title_combination import join, logistic, read_labelled, read_titles, to_share
from aria_data.screen.title_corpus import NUM_FOLDS, Work, as_found, fold_of, read_works, written
from aria_data.screen.title_features import NAMES
from aria_data.screen.title_model import NUM_BUCKETS, PAIR, WEIGHTS, TitleModel, hashed_features, squared
from aria_data.text import clean

_PENALTY = 2e-6
_NUM_STEPS = 45
_NUM_SPELLINGS = 3  # of each work
_SHARE_RENAMED = 0.3  # of the spellings, with another composer's name: what a work is called counts for strangers, too
_MIN_WEIGHT = 0.9  # of works that are asked about: whether they are for piano alone is known
_MAX_CHARS = 500
Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is done now


def train(
    folder: Path, labels: Path, show: Progress = lambda done, of, what: None
) -> tuple[TitleModel, dict[str, Any]]:
    """Train on the tables of `folder` and the labelled titles. Gives the model and figures on held-out composers.

    Each fold's titles are judged by words learned without its composers, joined as learned on the other folds.
    """
    num_steps = NUM_FOLDS + 4
    show(0, num_steps, "reading")
    works = read_works(folder)
    random.Random(0).shuffle(works)
    folds = np.array([fold_of(work.composer) for work in works])
    columns = _design(_spelled(works, folds))
    show(1, num_steps, "titles")
    asked = np.flatnonzero([work.weight > _MIN_WEIGHT for work in works])
    chance = random.Random(1)
    titles = read_titles([(*as_found(works[place], chance), "") for place in asked])
    by_fold = []
    for fold in range(NUM_FOLDS):
        show(2 + fold, num_steps, f"words of fold {fold}")
        by_fold.append(_learn_words(columns, works, folds != fold))
    show(2 + NUM_FOLDS, num_steps, "words of all")
    model = _learn_words(columns, works, np.ones(len(works), bool))
    show(3 + NUM_FOLDS, num_steps, "joining")
    surnames = [works[place].composer.split()[-1] for place in asked]
    combination, calibration, figures = join(titles, folds[asked], surnames, by_fold, model, read_labelled(labels))
    show(num_steps, num_steps, "done")
    return replace(model, combination=combination, calibration=calibration), {"num_works": len(works), **figures}


def _spelled(works: Sequence[Work], folds: np.ndarray) -> list[str]:
    """`_NUM_SPELLINGS` titles of each work; names of strangers come from composers of the same fold."""
    names = [[work.composer for work, of in zip(works, folds, strict=True) if of == fold] for fold in range(NUM_FOLDS)]
    chance, spelled = random.Random(2), []
    for _ in range(_NUM_SPELLINGS):
        for work, fold in zip(works, folds, strict=True):
            is_renamed = chance.random() < _SHARE_RENAMED
            spelled.append(written(replace(work, composer=chance.choice(names[fold])) if is_renamed else work, chance))
    return spelled


def _learn_words(columns: csr_matrix, works: Sequence[Work], is_used: np.ndarray) -> TitleModel:
    """Learn the words of some works; `columns` are those of all works' spellings, one spelling after the other."""
    rows = np.flatnonzero(np.tile(is_used, _NUM_SPELLINGS))
    piano = np.tile([work.piano for work in works], _NUM_SPELLINGS)[rows]
    weight = to_share(piano, np.tile([work.weight for work in works], _NUM_SPELLINGS)[rows])
    found = logistic(columns[rows], piano, weight, _PENALTY, _NUM_STEPS)
    words, bias = found[:-1], float(found[-1])
    scale = max(float(np.abs(words).max()), 1e-9) / 127**2
    stored = (np.sign(words) * np.round(np.sqrt(np.abs(words) / scale))).astype(np.int8)
    return TitleModel(squared(stored), scale, bias, np.zeros(len(NAMES)), np.zeros((2, 2)))


def _design(titles: Sequence[str]) -> csr_matrix:
    made = [hashed_features(clean(title, _MAX_CHARS)) for title in titles]
    columns = [np.concatenate(each).astype(np.int32) for each in made]
    values = [
        np.repeat(np.array([1, PAIR], np.float32) / np.float32(max(len(words), 1) ** 0.5), [len(words), len(pairs)])
        for words, pairs in made
    ]
    places = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    return csr_matrix((np.concatenate(values), np.concatenate(columns), places), shape=(len(made), NUM_BUCKETS))


def save(model: TitleModel, folder: Path) -> str:
    """Write the weights. Gives their sha256."""
    path = folder / WEIGHTS
    stored = np.sign(model.squared) * np.sqrt(np.abs(model.squared.astype(np.float64)))
    np.savez_compressed(
        path,
        weights=stored.astype(np.int8),
        scale=model.scale,
        bias=model.bias,
        combination=model.combination.astype(np.float64),
        calibration=model.calibration.astype(np.float64),
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _show(done: int, num_steps: int, what: str) -> None:
    bar, is_shown = "#" * done + "." * (num_steps - done), sys.stderr.isatty() and done < num_steps
    print(f"[{bar}] {done} of {num_steps} {what:20}", end="\r" if is_shown else "\n", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", type=Path, required=True, help="Folder with tables of works.")
    parser.add_argument("--labels", type=Path, required=True, help="CSV: title,description,uploader,label.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="Folder for the weights.")
    given = parser.parse_args()
    model, figures = train(given.works, given.labels, _show)
    combination = dict(zip(NAMES, model.combination.round(3).tolist(), strict=True))
    print(json.dumps({**figures, "combination": combination, "calibration": model.calibration.round(3).tolist()}))
    print(f"sha256 {save(model, given.output)}")


if __name__ == "__main__":
    main()
