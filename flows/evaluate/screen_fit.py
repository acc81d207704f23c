"""Fit how a model's digits and the learned scorer are joined, on labelled titles: `aria-data evaluate screen --fit`.

What the fit is worth is said by titles that it did not see: each fifth is judged by weights fitted on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from aria_data.errors import UsageError
from aria_data.llm import Llm
from aria_data.screen import ScreenConfig
from aria_data.screen.digits import Combination, Rating, fit, to_share, write_combination
from aria_data.screen.screening import rate_many
from aria_data.storage import printable
from flows.evaluate.screen import labelled
from flows.tools.title_lists import candidate_of

NUM_PARTS = 5
Rated = Sequence[tuple[Rating, bool]]


def require_digits(llm: Llm | None, path: Path | None, is_whole: bool) -> None:
    """Raise `UsageError` where weights are to be fitted, but not every title is asked for its digits."""
    if path is None or llm is None:
        return
    if llm.config.scoring != "digits":
        raise UsageError("--fit needs the probabilities of digits: add --set llm.scoring=digits.")
    if not is_whole:
        raise UsageError("--fit asks about every title, one by one: leave --ask-unsure and --batch out.")


def fit_labels(labels: Path, config: ScreenConfig, llm: Llm, path: Path) -> dict[str, object]:
    """Fit the weights on the titles of `labels` and write them to `path`. Gives the weights and what they are worth.

    Answers that `llm` has in its ledger are not asked again. Raises `UsageError` where the server gives no
    probabilities of digits, or the labels do not suffice.
    """
    rows = list(labelled(labels))
    candidates = [candidate_of(number, row) for number, row in enumerate(rows)]
    rated = [
        (rating, str(rows[int(question.tag[0].candidate_id)]["label"]).strip() == "1")
        for question, rating in rate_many(candidates, config, llm)
        if isinstance(rating, Rating)
    ]
    if not rated:
        raise UsageError(
            f"{printable(str(path))}: not written, {llm.model} gives no probabilities of the digits 1 to 5."
        )
    rated.sort(key=lambda each: (each[0].log_odds, each[0].expected, each[1]))  # not by when answers came
    combination = _fitted(rated)
    losses = {
        "learned": _loss(rated, _held_out(_without_digits(rated))),
        "unfitted": _loss(rated, [Combination().probability(r.log_odds, r.expected) for r, _ in rated]),
        "fitted": _loss(rated, _held_out(rated)),
    }
    write_combination(path, combination, {"model": llm.model, "titles": len(rated), "log_loss": losses})
    weights = {name: round(getattr(combination, name), 4) for name in Combination.__slots__}
    return {"titles": len(rated), "weights": weights, "log_loss": losses}


def _fitted(rated: Rated) -> Combination:
    return fit([r.log_odds for r, _ in rated], [r.expected for r, _ in rated], [label for _, label in rated])


def _without_digits(rated: Rated) -> Rated:
    """The ratings as if the model had not told: what the learned scorer is worth alone, fitted in the same way."""
    return [(Rating(each.log_odds, 3.0), label) for each, label in rated]


def _held_out(rated: Rated) -> list[float]:
    """Each title's probability by weights fitted on the other parts; the ratings are sorted, so parts are alike."""
    found = [0.0] * len(rated)
    for part in range(NUM_PARTS):
        others = [each for place, each in enumerate(rated) if place % NUM_PARTS != part]
        weights = _fitted(others)
        for place in range(part, len(rated), NUM_PARTS):
            found[place] = weights.probability(rated[place][0].log_odds, rated[place][0].expected)
    return found


def _loss(rated: Rated, probabilities: Sequence[float]) -> float:
    """The mean negative log probability of the truth, at the share of piano that probabilities are given for; lower is
    better."""
    truth = [p if label else 1.0 - p for (_, label), p in zip(rated, probabilities, strict=True)]
    counts = to_share([label for _, label in rated])
    return round(float((counts * -np.log(np.clip(truth, 1e-9, 1.0))).mean()), 4)


def print_fit(fitted: dict[str, object] | None, path: Path | None) -> None:
    """Print what was fitted, and how to use it."""
    if fitted is None or path is None:
        return
    losses = fitted["log_loss"]
    assert isinstance(losses, dict)
    said = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
    console = Console(soft_wrap=True, emoji=False, markup=False, highlight=False)
    console.print(f"\nlog loss on {fitted['titles']} titles (fits judge titles that they did not see): {said}")
    console.print(f"Use the weights with --set llm.combination={printable(str(path))}")
