"""Score a text by the rules and the title model together: the probability that the recording is solo piano.

    5  probability 0.75 and more    2  0.05 to 0.20
    4  0.40 to 0.75                 1  below 0.05
    3  0.20 to 0.40

A fifth of the titles are taken to be solo piano, as among search results for piano music. 0.40 was fixed on composers
that the model had not seen (`title_model.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.records import Candidate
from aria_data.screen.title_features import features
from aria_data.screen.title_model import title_model
from aria_data.screen.title_rules import read_title, second_opinion
from aria_data.screen.word_lists import words_in

LEARNED = "learned"
SHARE_OF_PIANO = 0.2  # among the titles that are judged; a probability is one of this share
LIMITS = (0.05, 0.20, 0.40, 0.75)  # from which probability the scores 2, 3, 4 and 5 are given


@dataclass(frozen=True)
class Judgement:
    """A text's log odds of solo piano, and the words that decided by the rules."""

    log_odds: float
    evidence: list[str]

    @property
    def probability(self) -> float:
        """0 to 1."""
        return float(1.0 / (1.0 + np.exp(-self.log_odds)))


def judge(candidate: Candidate, max_title_chars: int, max_description_chars: int) -> Judgement:
    """Judge a candidate whose texts hold no instructions to a model. Never raises, whatever the text is."""
    title = read_title(candidate.title, max_title_chars)
    more = " | ".join(filter(None, map(str, (candidate.tags, candidate.uploader, candidate.description))))
    model, found = title_model(), words_in(more, max_description_chars)
    raw = features(title, found, model) @ model.combination
    log_odds = float(calibrated(raw, model.calibration))
    return Judgement(log_odds, second_opinion(title.score, title.evidence, found)[1])


def calibrated(log_odds: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """What log odds of the combination mean on composers that it does not know; beyond the knots they go on in step."""
    knots, meant = calibration
    return np.interp(log_odds, knots, meant) + log_odds - np.clip(log_odds, knots[0], knots[-1])


def score_of(probability: float) -> int:
    """The score, 1 to 5, of a probability: see the table above."""
    return 1 + sum(probability >= limit for limit in LIMITS)
