"""The score of a text by its words, 1 to 5: which lists of `screen_words.toml` it holds, and what outweighs what.

A word inside the name of a work says nothing of what is heard: the 'Cello' etude, the quartet from Rigoletto in Liszt's
paraphrase. Names are those of `repertoire`, quoted names behind a piece's number, and the exceptions of the lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aria_data.repertoire import ComposerMatch, catalogue_numbers, find_composers, find_form, known_work
from aria_data.repertoire.composers import main_composer
from aria_data.screen.word_lists import joined_transcriber, piano_names, transcriber_pattern, word_lists, words_in
from aria_data.text import clean, fold, repaired

AGAINST = ("not_music", "ensemble", "doubtful")  # lists whose words speak against solo piano
_QUOTED = re.compile(r"(?<!\w)['\"‘’“”«„](?P<name>[^'\"‘’“”«»„]{2,60})['\"‘’“”»](?!\w)")
_LETTERS = r"[^\W_]+"
_IMITATED = re.compile(r"\b(?:quasi|a la|alla|imitation d[eu]|in imitation of|like an?) (?P<name>[^\W\d_]+)")
_THEME = re.compile(
    r"\b(?:paraphrase|fantas[iy]\w*|variation\w*|reminiscence\w*|metamorphos\w*|arabesque\w*|souvenir\w*|"
    r"transcription|potpourri|capriccio|rondo)\b[^:]{0,40}?"
    r" (?:on|upon|over|sur|uber|sobre|su|from|nach|d'apres) (?P<name>.+)"
)
_PLAYED_BY = re.compile(r"\b(?:for|fur|pour|per|para|voor|with|mit|avec|con)\b|&|\band piano\b")
Found = dict[str, list[str]]


@dataclass(frozen=True)
class TitleReading:
    """What the rules see in a title: the words of each list, who is named, and the score with its evidence."""

    cleaned: str
    found: Found
    composer: ComposerMatch | None
    is_known_work: bool = False  # a work that `repertoire` lists by name or number: it lists piano music
    is_named: bool = False  # by the name of a piano work, not by form and number
    named_away: tuple[str, ...] = ()  # words that belong to a work's name
    score: int = 3
    evidence: list[str] = field(default_factory=list)


def read_title(title: object, max_chars: int) -> TitleReading:
    """Read a title by the rules. Never raises, whatever the text is."""
    cleaned = clean(repaired(str(title or "")[:max_chars]), max_chars)
    found = words_in(cleaned, max_chars)
    people = find_composers(cleaned) if cleaned else []
    composer = main_composer(people, cleaned)
    if cleaned and _is_transcribed(cleaned, people):
        found["transcription"] = [*found["transcription"], "transcribed"]
    against = [word for name in AGAINST for word in found[name]]
    known = known_work(composer.composer_id, fold(cleaned)) if composer else None
    names = _names_of_works(cleaned, composer, known[1] if known else "") if composer or against else []
    away = _in_names(cleaned, names, against) if against else frozenset()
    kept = {name: [word for word in words if name not in AGAINST or word not in away] for name, words in found.items()}
    named = next((name for name in names if not re.search(r"[0-9]", name)), "")
    score, evidence = _score(kept, composer, named)
    return TitleReading(
        cleaned, kept, composer, bool(known or names), bool(named), tuple(sorted(away)), score, evidence
    )


def _is_transcribed(cleaned: str, people: list[ComposerMatch]) -> bool:
    """Whether somebody known for transcriptions stands behind a composer: "Bach-Busoni", "Wagner / Liszt"."""
    folded = fold(cleaned)
    return bool(joined_transcriber().search(folded)) or any(
        transcriber_pattern().match(folded, match.end) for match in people
    )


def _names_of_works(cleaned: str, composer: ComposerMatch | None, known: str) -> list[str]:
    """The names of the composer's piano works that a title holds, the longest first; `known` is one of them."""
    plain = f" {' '.join(re.findall(_LETTERS, fold(cleaned)))} "
    listed = piano_names().get(composer.composer_id, ()) if composer else ()
    return [*filter(None, [known]), *(name for name in listed if f" {name} " in plain)]


def _in_names(cleaned: str, names: list[str], against: list[str]) -> frozenset[str]:
    """The words of `against` that belong to a work's name.

    That is a known name, one in quotes behind a piece's number, the theme of a paraphrase, or what a piece imitates
    ("quasi guitarra").
    """
    folded = fold(cleaned)
    names = [*names, *(match["name"] for match in _IMITATED.finditer(folded))]
    if _names_a_piece(cleaned):
        names += [fold(match["name"]) for match in _QUOTED.finditer(cleaned)]
    if (theme := _THEME.search(folded)) and not _PLAYED_BY.search(theme["name"]):
        names.append(theme["name"])
    in_names = {word for name in names for word in re.findall(_LETTERS, name)}
    return frozenset(word for word in against if set(word.split()) <= in_names)


def _names_a_piece(cleaned: str) -> bool:
    """Whether a title names a piece without the quoted words: by form or number."""
    rest = _QUOTED.sub(" ", cleaned)
    return bool(catalogue_numbers(rest) or find_form(fold(rest)))


def _score(found: Found, composer: ComposerMatch | None, name: str) -> tuple[int, list[str]]:
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
    if composer and (found["form"] or name):
        return 4, [composer.text, *(found["form"] or [name])]
    return 3, []


def second_opinion(score: int, evidence: list[str], found: Found) -> tuple[int, list[str]]:
    """Correct the title's score by the description's words: 3 (does not tell) becomes 2 or 4, a title that only names a
    piano can fall to 3, and a doubtful one that is played alone rises to 4."""
    against = found["not_music"] or ([] if found["transcription"] else found["ensemble"])
    if score == 4 and against and not _is_transcription(evidence):
        return 3, [*evidence, *against]
    if score == 2 and found["alone"] and not against:
        return 4, found["alone"]
    if score != 3:
        return score, evidence
    if against:
        return 2, against
    hints = found["solo"] or found["transcription"] or found["piano"] or found["alone"]
    return (4, hints) if hints else (3, [])


def _is_transcription(evidence: list[str]) -> bool:
    """Whether the evidence holds words of a transcription for piano."""
    words = word_lists()["transcription"]
    return any(words.find(fold(phrase), fold(phrase).split()) for phrase in evidence)
