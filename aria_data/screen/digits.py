"""Score titles by the probabilities that a language model gives to the digits 1 to 5: one title, one token.

The mean of the digits, weighted by their probabilities, is finer than an answer in JSON, and several times faster:
the instructions are the same in every request, so that a server reads them once. It is combined with the learned
scorer (`learned.py`) by a logistic regression (`Combination`), whose weights are fitted on labelled titles or, without
any, the learned scorer counts alone. The scores stand for the same probabilities as the learned scorer's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import UsageError
from aria_data.llm import Answer, Task
from aria_data.llm.questions import Payload, load_prompt
from aria_data.screen.learned import LIMITS, SHARE_OF_PIANO
from aria_data.storage import printable, write_whole

PROMPT = "screen-digit-1"
DIGITS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True, slots=True)
class Rating:
    """What a combination joins: the learned scorer's log odds of solo piano, and the mean of a model's digits."""

    log_odds: float
    expected: float  # 1 to 5


@dataclass(frozen=True, slots=True)
class Combination:
    """Weights of the log odds that solo piano has: a constant, the other scorer's log odds, the expected digit - 3.

    The default is the other scorer alone, until weights are fitted on titles of yours: joined by a guess, a model of
    135 M made the learned scorer worse (F1 0.94 for 0.96, `docs/titles.md`).
    """

    constant: float = 0.0
    of_scorer: float = 1.0
    of_digit: float = 0.0

    def probability(self, log_odds: float, expected: float) -> float:
        total = self.constant + self.of_scorer * log_odds + self.of_digit * (expected - 3.0)
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


@cache
def digit_task() -> Task:
    """The task: the answer is one of the digits, and what counts are the probabilities of all five."""
    return Task("screen-digit", PROMPT, load_prompt(__package__, PROMPT), {}, _checked, choices=DIGITS)


def _checked(payload: Payload, fields: dict[str, Any], company: Sequence[Payload]) -> dict[str, Any]:
    return {"probabilities": {digit: round(value, 6) for digit, value in fields["probabilities"].items()}}


def expected_digit(answer: Answer) -> float:
    """The mean of the digits by their probabilities, 1 to 5."""
    return sum(int(digit) * value for digit, value in answer.fields["probabilities"].items())


def unsure_first(items: Sequence[Any], probability: Callable[[Any], float], most: int | None = None) -> list[Any]:
    """Order items by how unsure a scorer with probabilities is of them: those nearest to being kept or not come first.

    `most` limits how many are given.
    """
    return sorted(items, key=lambda item: abs(probability(item) - LIMITS[2]))[:most]


def fit(log_odds: Sequence[float], expected: Sequence[float], labels: Sequence[bool]) -> Combination:
    """Fit the weights on labelled titles by logistic regression, drawn a little towards the default (ridge, 1).

    Titles count so that a fifth of them are solo piano, as in the learned scorer's probabilities, whatever the share
    among the labels is. Raises `UsageError` if all labels are the same.
    """
    if len(set(labels)) < 2:
        raise UsageError("a combination needs titles that are solo piano, and titles that are not.")
    start = np.array([0.0, 1.0, 0.0])
    features = np.column_stack([np.ones(len(labels)), log_odds, np.asarray(expected) - 3.0])
    truth, weights, ridge = np.asarray(labels, float), start.copy(), np.diag([0.01, 1.0, 1.0])
    counts = to_share(labels)
    for _ in range(50):
        found = 1.0 / (1.0 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (counts * (found - truth)) + ridge @ (weights - start)
        step = np.linalg.solve((features.T * (counts * found * (1 - found))) @ features + ridge, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return Combination(*(float(weight) for weight in weights))


def to_share(labels: Sequence[bool]) -> np.ndarray:
    """How much each title counts, 1 in the mean, so that `SHARE_OF_PIANO` of them are solo piano."""
    truth = np.asarray(labels, bool)
    return np.where(truth, SHARE_OF_PIANO / truth.mean(), (1 - SHARE_OF_PIANO) / (1 - truth.mean()))


def write_combination(path: Path, combination: Combination, facts: Mapping[str, Any]) -> None:
    """Write the weights as JSON, with the facts of their fitting."""
    weights = {name: getattr(combination, name) for name in Combination.__slots__}
    write_whole(path, (json.dumps({**weights, "fitted": dict(facts)}, indent=2) + "\n").encode())


def read_combination(path: Path) -> Combination:
    """Read weights. Raises `UsageError` for a file that holds none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Combination(*(float(stored[name]) for name in Combination.__slots__))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(
            f"{printable(str(path))}: holds no combination. Write a JSON object with the numbers "
            f"{', '.join(Combination.__slots__)}, or leave llm.combination empty."
        ) from None
