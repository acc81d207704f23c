"""Stage 2: what a candidate's text says about its being solo piano, 1 to 5, by word lists in twelve languages.

    5  a piano, alone          "Klaviersonate", "solo piano", ピアノソロ
    4  a piano                 "piano cover of an orchestral theme", "Chopin: Nocturne"
    3  the text does not say   "track01"
    2  hardly                  "four hands", "symphony", "official video"
    1  clearly something else  "violin sonata", "piano concerto", "synthesia tutorial"

The title decides; tags, description and uploader speak where it does not. The lists are `data/screen_words.toml`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aria_data.composers import find_composer
from aria_data.records import Candidate, Screening, Verdict
from aria_data.text import clean, fold

SCORER = "rules"
MAX_EVIDENCE_CHARS = 200
_EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")


@dataclass(frozen=True)
class ScreenConfig:
    """Which candidates go on. The default refuses only what the text itself calls something else:
    a folder that someone names themself gets the benefit of the doubt; a crawl wants 4."""

    min_relevance_score: int = 2
    max_title_chars: int = 500
    max_description_chars: int = 3000  # ours: longer ones are credits and advertising


def screen(candidate: Candidate, config: ScreenConfig) -> Screening:
    """How surely the metadata alone says solo piano. Never raises, whatever the text is."""
    found = _words_in(candidate.title, config.max_title_chars)
    score, evidence = _title_score(found, candidate.title)
    more = " | ".join(str(part or "") for part in (candidate.tags, candidate.uploader, candidate.description))
    score, evidence = _second_opinion(score, evidence, _words_in(more, config.max_description_chars))
    return Screening(candidate.candidate_id, score, SCORER, ", ".join(evidence)[:MAX_EVIDENCE_CHARS])


def verdict(screening: Screening, config: ScreenConfig) -> Verdict:
    """Whether the candidate goes on."""
    score = float(screening.relevance_score)
    if score < config.min_relevance_score:
        return Verdict(False, "relevance_score_below_min", score)
    return Verdict(True, "", score)


def _title_score(found: dict[str, list[str]], title: str) -> tuple[int, list[str]]:
    if found["not_music"]:
        return 1, found["not_music"]
    if found["ensemble"] and not found["transcription"]:
        return 1, found["ensemble"]
    if found["doubtful"] and not found["transcription"]:
        return 2, found["doubtful"]
    if found["transcription"] and (found["ensemble"] or found["doubtful"]):
        return 4, found["transcription"]
    if found["solo"]:
        return 5, found["solo"]
    if found["transcription"] or found["piano"]:
        return 4, found["transcription"] or found["piano"]
    composer = find_composer(title) if found["form"] else None
    return (4, [composer.text, *found["form"]]) if composer else (3, [])


def _second_opinion(score: int, evidence: list[str], found: dict[str, list[str]]) -> tuple[int, list[str]]:
    """The description can move a silent title to 2 or 4, and lower one that only names a piano."""
    against = found["not_music"] or ([] if found["transcription"] else found["ensemble"])
    if score == 4 and against and not _is_transcription(evidence):
        return 3, [*evidence, *against]
    if score != 3:
        return score, evidence
    if against:
        return 2, against
    hints = found["solo"] or found["transcription"] or found["piano"]
    return (4, hints) if hints else (3, [])


def _is_transcription(evidence: list[str]) -> bool:
    """Whether the title's own words were those of a transcription for piano."""
    pattern = _patterns()["transcription"]
    return any(pattern.search(words) for words in evidence)


def _words_in(text: object, max_chars: int) -> dict[str, list[str]]:
    """The matched words of each list, in order, each once."""
    folded = re.sub(r"[\W_]+", " ", fold(clean(text, max_chars)))
    patterns = _patterns()
    folded = patterns["exception"].sub(" ", folded)
    return {name: list(dict.fromkeys(pattern.findall(folded))) for name, pattern in patterns.items()}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    source = resources.files("aria_data.data").joinpath("screen_words.toml").read_text(encoding="utf-8")
    return {
        name: _pattern([word for words in by_language.values() for word in words])
        for name, by_language in tomllib.loads(source).items()
    }


def _pattern(words: list[str]) -> re.Pattern[str]:
    """One alternation, longest first. Words are separated by one space, as in the text they are sought in."""
    parts = []
    for word in sorted(set(words), key=lambda word: (-len(word), word)):
        plain = re.sub(r"[^\w*]+", " ", fold(word))
        literal = re.escape(plain).replace(r"\*", r"\w{0,20}")
        parts.append(literal if _EAST_ASIAN.search(word) else rf"\b{literal}\b")
    return re.compile("|".join(parts))
