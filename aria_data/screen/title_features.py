"""What the learned scorer weighs: the title's log odds by the model, what the rules found, and how the two agree."""

from __future__ import annotations

import re

import numpy as np

from aria_data.repertoire import CatalogueNumber, catalogue_numbers
from aria_data.repertoire.composers import composers
from aria_data.screen.catalogue_parts import is_for_piano_alone
from aria_data.screen.title_model import TitleModel
from aria_data.screen.title_rules import AGAINST, Found, TitleReading, second_opinion
from aria_data.text import fold

NAMES = (
    "always", "score 1", "score 2", "score 4", "score 5", "description raises", "description lowers", "log odds",
    "log odds at 1 or 2", "log odds at 3", "log odds at 4 or 5", "words against are in the name",
    "words against cost", "composer", "catalogue number", "catalogue number of a composer", "form", "piano",
    "transcription", "not music", "ensemble", "few words", "known work",
    "number of a work for piano alone", "number of another work", "name of a piano work",
)  # fmt: skip
_BETWEEN_WORDS = re.compile(r"[\W_]+")
MAX_LOG_ODDS = 6.0  # of one title's words; more would outweigh any rule


def features(title: TitleReading, more: Found, model: TitleModel) -> np.ndarray:
    """The values of `NAMES` for a title; `more` are the words of the description, tags and uploader."""
    log_odds = max(_bounded(model.log_odds(title.cleaned)), 0.0 if title.is_named else -MAX_LOG_ODDS)
    final, _ = second_opinion(title.score, title.evidence, more)
    cost = _cost_of_words_against(title, log_odds, model)
    low, high = title.score <= 2, title.score >= 4
    numbers = _numbers(title)
    has_number = bool(numbers)
    is_solo = is_for_piano_alone(title.cleaned, title.composer.composer_id if title.composer else "", numbers)
    found = title.found
    return np.array([
        1.0, title.score == 1, title.score == 2, title.score == 4, title.score == 5, final > title.score,
        final < title.score, log_odds, log_odds * low, log_odds * (title.score == 3), log_odds * high,
        low and cost > 0, min(cost, 0.0), title.composer is not None, has_number,
        has_number and title.composer is not None, bool(found["form"]), bool(found["piano"] or found["solo"]),
        bool(found["transcription"]), bool(found["not_music"]), bool(found["ensemble"]),
        title.cleaned.count(" ") < 2, title.is_known_work,
        is_solo is True, is_solo is False, title.is_named,
    ], float)  # fmt: skip


def _numbers(title: TitleReading) -> list[CatalogueNumber]:
    """The catalogue numbers of a title, those in the composer's own catalogues, too."""
    if not any(character.isdigit() for character in title.cleaned):
        return []
    own = composers()[title.composer.composer_id].catalogues if title.composer else ()
    return catalogue_numbers(title.cleaned, (*own, "op") if own else ())


def _cost_of_words_against(title: TitleReading, log_odds: float, model: TitleModel) -> float:
    """How much the words of other instruments and talk add to the log odds: above 0 they belong to a known name."""
    against = [word for name in AGAINST for word in title.found[name]]
    if not against:
        return 0.0
    rest = _BETWEEN_WORDS.sub(" ", fold(title.cleaned))
    for word in sorted(against, key=len, reverse=True):
        rest = rest.replace(word, " ")
    return log_odds - _bounded(model.log_odds(rest))


def _bounded(log_odds: float) -> float:
    return min(max(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)
