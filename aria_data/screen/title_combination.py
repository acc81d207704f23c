"""Learn how the words of a title are joined with what the rules found, and what the result says of probabilities.

Learned from titles of composers that the words did not see, from known works, and from hand-labelled titles. The
figures say how this does on a fold of composers when nothing of it, nor its calibration, was learned from that fold.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression, minimize

from aria_data.screen.learned import LIMITS, SHARE_OF_PIANO, calibrated
from aria_data.screen.title_features import NAMES, features
from aria_data.screen.title_model import TitleModel
from aria_data.screen.title_rules import Found, TitleReading, read_title
from aria_data.screen.word_lists import words_in

_PENALTY = 1e-4
_NUM_KNOWN = 8_000  # titles of works that the words know
_WEIGHT_STRANGERS, _WEIGHT_KNOWN, _WEIGHT_LABELLED = 0.4, 0.3, 0.3
_MAX_CHARS, _MAX_MORE = 500, 3000
_NUM_KNOTS = 16  # of the calibration
_NUM_DRAWS = 1000  # of composers, for the interval of F1


@dataclass(frozen=True)
class Titles:
    """Titles as the rules read them, what is written beside them, and the probability of solo piano of each."""

    readings: Sequence[TitleReading]
    more: Sequence[Found]
    piano: np.ndarray

    def features(self, model: TitleModel, places: Iterable[int]) -> np.ndarray:
        return np.array([features(self.readings[place], self.more[place], model) for place in places])


@dataclass(frozen=True)
class _Rows:
    """Features of titles with the probability of solo piano, how much each counts, and its fold (-1: in no fold)."""

    features: np.ndarray
    piano: np.ndarray
    weight: np.ndarray
    folds: np.ndarray

    def without(self, fold: int) -> _Rows:
        kept = self.folds != fold
        piano = self.piano[kept]
        return _Rows(self.features[kept], piano, to_share(piano, np.ones(len(piano))), self.folds[kept])


def read_titles(rows: Iterable[tuple[str, float, str]]) -> Titles:
    """Read titles by the rules: (title, probability of solo piano, description and the like)."""
    titles, piano, more = zip(*rows, strict=True)
    return Titles(
        [read_title(title, _MAX_CHARS) for title in titles],
        [words_in(each, _MAX_MORE) for each in more],
        np.array(piano, float),
    )


def read_labelled(path: Path) -> Titles:
    """Read hand-labelled titles: a CSV with the columns title, description, uploader, label."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    beside = [" | ".join(filter(None, (row.get("uploader"), row.get("description")))) for row in rows]
    return read_titles((row["title"], float(row["label"] == "1"), more) for row, more in zip(rows, beside, strict=True))


def join(
    titles: Titles,
    folds: np.ndarray,
    surnames: Sequence[str],
    by_fold: Sequence[TitleModel],
    model: TitleModel,
    labelled: Titles,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Learn the combination and its calibration. Gives both, and figures on composers that were held out.

    `by_fold` are the words learned without each fold, `model` those of all works.
    """
    strangers = np.zeros((len(folds), len(NAMES)))
    for fold, words in enumerate(by_fold):
        places = np.flatnonzero(folds == fold)
        if len(places):
            strangers[places] = titles.features(words, places)
    known = np.linspace(0, len(folds) - 1, min(_NUM_KNOWN, len(folds))).astype(int)
    parts = (
        _rows(strangers, titles.piano, folds),
        _rows(titles.features(model, known), titles.piano[known], folds[known]),
        _rows(labelled.features(model, range(len(labelled.piano))), labelled.piano, np.full(len(labelled.piano), -1)),
    )
    return *_learn(parts), _figures(parts, np.array(surnames))


def _rows(found: np.ndarray, piano: np.ndarray, folds: np.ndarray) -> _Rows:
    return _Rows(found, piano, to_share(piano, np.ones(len(piano))), folds)


def _learn(parts: Sequence[_Rows]) -> tuple[np.ndarray, np.ndarray]:
    """The weights of `NAMES`, and the calibration of their sum on strangers: `parts` are strangers, known, labelled."""
    shares = (_WEIGHT_STRANGERS, _WEIGHT_KNOWN, _WEIGHT_LABELLED)
    columns, piano = np.concatenate([each.features for each in parts]), np.concatenate([each.piano for each in parts])
    weight = np.concatenate([
        each.weight * share / len(each.weight) for each, share in zip(parts, shares, strict=True)
    ]) * len(piano)  # fmt: skip
    combination = logistic(columns[:, 1:], piano, weight, _PENALTY, 400)[np.r_[-1, 0 : len(NAMES) - 1]]
    strangers = parts[0]
    return combination, _calibration(strangers.features @ combination, strangers.piano, strangers.weight)


def _calibration(log_odds: np.ndarray, piano: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What log odds mean: a row of knots, and a row of the log odds of the truth there (isotonic: the order stays)."""
    order = np.argsort(log_odds, kind="stable")
    groups = [each for each in np.array_split(order, _NUM_KNOTS) if len(each)]
    counts = np.array([weight[each].sum() for each in groups])
    knots = np.array([np.average(log_odds[each], weights=weight[each]) for each in groups])
    truth = np.array([np.average(piano[each], weights=weight[each]) for each in groups])
    rising = np.clip(isotonic_regression(truth, weights=counts).x, 0.002, 0.998)
    return np.array([knots, np.log(rising / (1 - rising))])


def to_share(piano: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights under which `SHARE_OF_PIANO` of the titles are piano, with mean 1."""
    is_piano = piano > 0.5
    shares = SHARE_OF_PIANO / weight[is_piano].sum(), (1 - SHARE_OF_PIANO) / weight[~is_piano].sum()
    return np.where(is_piano, weight * shares[0], weight * shares[1]) * len(weight)


def logistic(columns: Any, piano: np.ndarray, weight: np.ndarray, penalty: float, num_steps: int) -> np.ndarray:
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


def _figures(parts: Sequence[_Rows], surnames: np.ndarray) -> dict[str, Any]:
    """Precision, recall and F1 by fold and of all; how often titles of a probability are piano, before and after."""
    strangers, limit = parts[0], LIMITS[2]
    before, after = np.zeros(len(surnames)), np.zeros(len(surnames))
    by_fold = {}
    for fold in np.unique(strangers.folds):
        combination, calibration = _learn([each.without(fold) for each in parts])
        is_held_out = strangers.folds == fold
        log_odds = strangers.features[is_held_out] @ combination
        before[is_held_out], after[is_held_out] = _sigmoid(log_odds), _sigmoid(calibrated(log_odds, calibration))
        by_fold[int(fold)] = _accuracy(after[is_held_out] >= limit, strangers.piano[is_held_out] > 0.5)
    is_piano = strangers.piano > 0.5
    return {
        "num_titles": len(is_piano),
        "precision_recall_f1_by_fold": by_fold,
        "precision_recall_f1": {
            f"{each:.2f}": _accuracy(after >= each, is_piano) for each in np.arange(0.2, 0.8, 0.05)
        },
        "f1_interval": _interval(after >= limit, is_piano, surnames),
        "reliability_before": _reliability(before, strangers),
        "reliability": _reliability(after, strangers),
    }


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-log_odds))


def _accuracy(is_kept: np.ndarray, is_piano: np.ndarray) -> list[float]:
    """Precision, recall and F1 where `SHARE_OF_PIANO` of the titles are piano."""
    recall, wrong = is_kept[is_piano].mean(), is_kept[~is_piano].mean()
    right, kept = SHARE_OF_PIANO * recall, SHARE_OF_PIANO * recall + (1 - SHARE_OF_PIANO) * wrong
    return [round(float(value), 4) for value in (right / max(kept, 1e-9), recall, 2 * right / (kept + SHARE_OF_PIANO))]


def _interval(is_kept: np.ndarray, is_piano: np.ndarray, surnames: np.ndarray) -> list[float]:
    """The middle 95 % of F1 when composers, with all their titles, are drawn with replacement."""
    _, group = np.unique(surnames, return_inverse=True)
    sums = np.array(
        [np.bincount(group, each) for each in (is_kept & is_piano, is_piano, is_kept & ~is_piano, ~is_piano)]
    )
    drawn = np.random.default_rng(0).multinomial(sums.shape[1], np.ones(sums.shape[1]) / sums.shape[1], _NUM_DRAWS)
    right, piano, wrong, others = sums @ drawn.T
    recall, wrongly = right / np.maximum(piano, 1), wrong / np.maximum(others, 1)
    f1 = 2 * SHARE_OF_PIANO * recall / (SHARE_OF_PIANO * (recall + 1) + (1 - SHARE_OF_PIANO) * wrongly)
    return [round(float(value), 4) for value in np.percentile(f1, (2.5, 97.5))]


def _reliability(probability: np.ndarray, rows: _Rows) -> dict[str, Any]:
    """Mean probability and truth by tenths, and the expected calibration error: their mean distance."""
    tenths, table, error = np.minimum((probability * 10).astype(int), 9), [], 0.0
    for tenth in np.unique(tenths):
        inside = tenths == tenth
        given, truth = (float(np.average(of[inside], weights=rows.weight[inside])) for of in (probability, rows.piano))
        error += abs(given - truth) * float(rows.weight[inside].sum() / rows.weight.sum())
        table.append([round(given, 3), round(truth, 3)])
    return {"probability_and_truth": table, "expected_calibration_error": round(error, 4)}
