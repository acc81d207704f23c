"""Train the title model: `python -m aria_data.screen.title_training --works WORKS --labels LABELS.csv --output FOLDER`.

First the words (a logistic regression over hashed features), then their combination with the rules, on works of
composers that the words did not see, on known works, and on hand-labelled titles. Both with one share of piano.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from aria_data.screen.learned import SHARE_OF_PIANO
from aria_data.screen.title_corpus import Work, as_found, fold_of, read_works, written
from aria_data.screen.title_features import NAMES, features
from aria_data.screen.title_model import NUM_BUCKETS, PAIR, WEIGHTS, TitleModel, hashed_features, squared
from aria_data.screen.title_rules import read_title
from aria_data.screen.word_lists import words_in
from aria_data.text import clean

_PENALTY_WORDS, _PENALTY_COMBINATION = 2e-6, 1e-3
_NUM_SPELLINGS = 3  # of each work
_SHARE_RENAMED = 0.3  # of the spellings, with another composer's name: what a work is called counts for strangers, too
_NUM_HELD_OUT, _NUM_KNOWN = 16_000, 8_000  # titles from which the combination is learned
_WEIGHT_HELD_OUT, _WEIGHT_KNOWN, _WEIGHT_LABELLED = 0.4, 0.3, 0.3
_MAX_CHARS, _MAX_MORE = 500, 3000


@dataclass(frozen=True)
class Titles:
    """Titles with what is written beside them, the probability of solo piano of each, and how much each counts."""

    titles: list[str]
    more: list[str]
    piano: np.ndarray
    weight: np.ndarray


def train(folder: Path, labels: Path, fold: int = 0) -> tuple[TitleModel, dict[str, Any]]:
    """Train on the tables of `folder` and the labelled titles. Gives the model and figures on held-out composers.

    The composers of fold 0 are those of the model card. Settings are chosen on another fold, in which no composer of
    fold 0 takes part; the model that is given then knows none of them.
    """
    chance = random.Random(0)
    works = [work for work in read_works(folder) if fold == 0 or fold_of(work.composer) != 0]
    chance.shuffle(works)
    held_out = [work for work in works if fold_of(work.composer) == fold]
    others = [work for work in works if fold_of(work.composer) != fold]
    partial = _learn_words(others, chance)
    known = [work for work in others if work.weight > 0.9][:_NUM_KNOWN]
    testable = [work for work in held_out if work.weight > 0.9]
    half = min(len(testable) // 2, _NUM_HELD_OUT)
    parts = [
        (_titles_of(testable[:half], chance), _WEIGHT_HELD_OUT),
        (_titles_of(known, chance), _WEIGHT_KNOWN),
        (_labelled(labels), _WEIGHT_LABELLED),
    ]
    combination = _combine(parts, partial)
    figures = _figures(_titles_of(testable[half : 2 * half], chance), partial, combination)
    full = partial if fold else _learn_words(works, random.Random(0))
    return TitleModel(full.squared, full.scale, full.bias, combination), figures


def _learn_words(works: Sequence[Work], chance: random.Random) -> TitleModel:
    spelled = [work for _ in range(_NUM_SPELLINGS) for work in works]
    names = [work.composer for work in works]
    columns = _design([written(_renamed(work, names, chance), chance) for work in spelled])
    piano = np.array([work.piano for work in spelled])
    weight = _to_share(piano, np.array([work.weight for work in spelled]))
    found = _logistic(columns, piano, weight, _PENALTY_WORDS, 60)
    words, bias = found[:-1], float(found[-1])
    scale = float(np.abs(words).max()) / 127**2
    stored = (np.sign(words) * np.round(np.sqrt(np.abs(words) / scale))).astype(np.int8)
    return TitleModel(squared(stored), scale, bias, np.zeros(len(NAMES)))


def _renamed(work: Work, names: Sequence[str], chance: random.Random) -> Work:
    return replace(work, composer=chance.choice(names)) if chance.random() < _SHARE_RENAMED else work


def _design(titles: Sequence[str]) -> csr_matrix:
    made = [hashed_features(clean(title, _MAX_CHARS)) for title in titles]
    columns = [np.concatenate(each).astype(np.int32) for each in made]
    values = [
        np.repeat(np.array([1, PAIR], np.float32) / np.float32(max(len(words), 1) ** 0.5), [len(words), len(pairs)])
        for words, pairs in made
    ]
    places = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    return csr_matrix((np.concatenate(values), np.concatenate(columns), places), shape=(len(made), NUM_BUCKETS))


def _to_share(piano: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights under which `SHARE_OF_PIANO` of the titles are piano, with mean 1."""
    weight = np.where(
        piano > 0.5,
        weight * SHARE_OF_PIANO / weight[piano > 0.5].sum(),
        weight * (1 - SHARE_OF_PIANO) / weight[piano <= 0.5].sum(),
    )
    return weight * len(weight)


def _logistic(columns: Any, piano: np.ndarray, weight: np.ndarray, penalty: float, num_steps: int) -> np.ndarray:
    """Coefficients of a logistic regression with a quadratic penalty, and the intercept as the last one."""

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        inner = values[:-1].astype(columns.dtype)
        logits = columns @ inner + values[-1]
        residual = weight * (1.0 / (1.0 + np.exp(-logits)) - piano) / len(piano)
        total = float((weight * (np.logaddexp(0.0, logits) - piano * logits)).mean() + penalty / 2 * (inner @ inner))
        slope = columns.T @ residual.astype(columns.dtype) + penalty * inner
        return total, np.append(slope, residual.sum()).astype(float)

    start = np.zeros(columns.shape[1] + 1)
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": num_steps, "maxcor": 6}).x


def _titles_of(works: Sequence[Work], chance: random.Random) -> Titles:
    made = [as_found(work, chance) for work in works]
    piano = np.array([each for _, each in made])
    return Titles([title for title, _ in made], [""] * len(made), piano, _to_share(piano, np.ones(len(made))))


def _labelled(path: Path) -> Titles:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    piano = np.array([float(row["label"] == "1") for row in rows])
    more = [" | ".join(filter(None, (row.get("uploader"), row.get("description")))) for row in rows]
    return Titles([row["title"] for row in rows], more, piano, _to_share(piano, np.ones(len(rows))))


def _features(titles: Titles, model: TitleModel) -> np.ndarray:
    return np.array([
        features(read_title(title, _MAX_CHARS), words_in(more, _MAX_MORE), model)
        for title, more in zip(titles.titles, titles.more, strict=True)
    ])  # fmt: skip


def _combine(parts: Sequence[tuple[Titles, float]], model: TitleModel) -> np.ndarray:
    columns = np.concatenate([_features(titles, model) for titles, _ in parts])
    piano = np.concatenate([titles.piano for titles, _ in parts])
    weight = np.concatenate([titles.weight * share / len(titles.weight) for titles, share in parts]) * len(piano)
    return _logistic(columns[:, 1:], piano, weight, _PENALTY_COMBINATION, 400)[np.r_[-1, 0 : len(NAMES) - 1]]


def _figures(titles: Titles, model: TitleModel, combination: np.ndarray) -> dict[str, Any]:
    """F1 by threshold on held-out composers, and how often titles of a probability are piano."""
    probability = 1.0 / (1.0 + np.exp(-(_features(titles, model) @ combination)))
    is_piano, weight = titles.piano > 0.5, titles.weight
    table = {}
    for threshold in np.arange(0.1, 0.95, 0.05):
        kept = probability >= threshold
        right, num_kept = weight[kept & is_piano].sum(), weight[kept].sum()
        table[f"{threshold:.2f}"] = [
            round(float(value), 3)
            for value in (
                right / num_kept,
                right / weight[is_piano].sum(),
                2 * right / (num_kept + weight[is_piano].sum()),
            )
        ]
    tenths = np.minimum((probability * 10).astype(int), 9)
    reliability = [
        [
            round(float(np.average(values[tenths == tenth], weights=weight[tenths == tenth])), 3)
            for values in (probability, titles.piano)
        ]
        for tenth in range(10)
        if (tenths == tenth).any()
    ]
    return {"num_titles": len(is_piano), "precision_recall_f1": table, "probability_and_truth": reliability}


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
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", type=Path, required=True, help="Folder with tables of works.")
    parser.add_argument("--labels", type=Path, required=True, help="CSV: title,description,uploader,label.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="Folder for the weights.")
    parser.add_argument(
        "--fold", type=int, default=0, help="Composers to hold out; 1 to 4 only measure, without fold 0."
    )
    given = parser.parse_args()
    model, figures = train(given.works, given.labels, given.fold)
    print(json.dumps({**figures, "combination": dict(zip(NAMES, model.combination.round(3).tolist(), strict=True))}))
    if not given.fold:
        print(f"sha256 {save(model, given.output)}")


if __name__ == "__main__":
    main()
