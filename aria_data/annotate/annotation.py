"""Annotate: text -> composer, performer, title, catalogue, number, form, genre, period, key; by rules or by a model.

A field is filled only from words of the text, and `evidence` quotes them. Genre and period may come from the composer;
then the evidence names the composer. The rules are in `credits` (people) and `composition_id` (the work). A model
gives the same fields with a quote each (`model_tags.py`); its values go through the same lists and parsers. What the
rules read goes before it where they are sure, and fills what it left empty (`joining.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from aria_data.annotate.composition_id import read_manner, read_work
from aria_data.annotate.credits import read_catalogue, read_composer, read_performer, without_people
from aria_data.annotate.joining import joined
from aria_data.annotate.model_tags import (
    annotation_questions,
    annotation_task,
    held_by_rules,
    read_answer,
    source_of,
    tags_of,
)
from aria_data.annotate.readings import Reading, says_work
from aria_data.annotate.several import first_work, has_several_works, people_of_works, without_event
from aria_data.llm import Llm, Question
from aria_data.llm.batch import ask_in_batches
from aria_data.records import Annotation, Candidate
from aria_data.repertoire import find_forms
from aria_data.text import clean, fold, repaired, without_instructions

SOURCE = "rules"
ANNOTATORS = ("rules", "llm")


@dataclass(frozen=True)
class AnnotateConfig:
    """How much of a text is read, and by what. Raises `ValueError` for an unknown annotator."""

    max_title_chars: int = 500
    max_description_chars: int = 3000
    max_tag_chars: int = 300
    annotator: str = "rules"  # or "llm"
    model: str = ""  # of the annotator "llm"; empty: ARIA_DATA_MODEL

    def __post_init__(self) -> None:
        if self.annotator not in ANNOTATORS:
            raise ValueError(f"annotator is one of {', '.join(ANNOTATORS)}, not {self.annotator!r}.")


def annotate(
    title: str,
    description: str = "",
    uploader: str = "",
    tags: Mapping[str, str] | None = None,
    config: AnnotateConfig | None = None,
) -> Annotation:
    """Annotate a text by the rules. Does not raise for any text.

    `tags` are those embedded in the file (title, artist, composer, ...). The uploader's name is only used to find the
    performer, if a pianist of the list has that name.
    """
    return read_text(title, description, uploader, tags, config or AnnotateConfig()).to_annotation(SOURCE)


def read_text(
    title: str, description: str, uploader: str, tags: Mapping[str, str] | None, config: AnnotateConfig
) -> Reading:
    """What the rules read of a text, as `annotate` does."""
    raw_description = _read(description, config.max_description_chars)
    title, description, uploader = (
        clean(_read(text, max_chars), max_chars)
        for text, max_chars in (
            (title, config.max_title_chars),
            (description, config.max_description_chars),
            (uploader, config.max_tag_chars),
        )
    )
    title = clean(title.replace("_", " "), config.max_title_chars)
    read_tags = {str(k).lower(): clean(v, config.max_tag_chars) for k, v in _items(tags)}
    if len(read_tags.get("title", "")) > 2:
        title = read_tags["title"] if not says_work(title) or says_work(read_tags["title"]) else title
    title_of_work = title if says_work(title) else clean(first_work(raw_description), config.max_title_chars) or title
    reading = Reading()
    several = people_of_works(title_of_work)
    if not several:
        read_composer(reading, title_of_work, description, read_tags)
    if several or has_several_works(title_of_work, reading.get("composer_id")):
        _read_several(reading, title, description, uploader, read_tags)
    else:
        _read_one(reading, title_of_work, description, uploader, read_tags)
    return reading


def _read(text: object, max_chars: int) -> str:
    """A text without damage and without instructions to a model; its lines are kept."""
    return repaired(without_instructions(str(text or "")[: 2 * max_chars])[0])


def _read_several(reading: Reading, title: str, description: str, uploader: str, tags: Mapping[str, str]) -> None:
    """A title with several works: who plays, the form if one is named, and no composition."""
    reading.is_several = True
    read_performer(reading, title, tags, description, uploader)
    if forms := find_forms(fold(title)):
        reading.put("form", forms[0][0], title[forms[0][2] : forms[0][3]], "form")
    shown = title.strip(" ,-:") or title
    reading.put("title", shown, shown)
    read_manner(reading, " ".join([title, tags.get("genre", "")]))


def _read_one(reading: Reading, title: str, description: str, uploader: str, tags: Mapping[str, str]) -> None:
    numbers = read_catalogue(reading, title)
    read_performer(reading, title, tags, description, uploader)
    body = without_event(without_people(reading, title))
    read_work(reading, title, body, numbers)
    read_manner(reading, " ".join([title, tags.get("genre", "")]))


def _items(tags: object) -> list[tuple[object, object]]:
    return list(tags.items()) if isinstance(tags, Mapping) else []


def annotate_many(
    candidates: Iterable[Candidate],
    config: AnnotateConfig,
    llm: Llm | None = None,
    in_batches: bool = False,
    announce: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Candidate, Annotation | Exception]]:
    """Annotate with the configured annotator; yields each candidate once, in any order.

    A candidate without a valid answer of the model comes with a `TemporaryError`, never with a guess. `in_batches` uses
    the batch interface, at half the price within a day; `announce` then gets lines about its progress. Raises
    `ValueError` for the annotator "llm" without `llm`, and the errors of `Llm.ask_many` that concern every candidate.
    """
    if config.annotator == SOURCE:
        yield from ((candidate, _reading_of(candidate, config).to_annotation(SOURCE)) for candidate in candidates)
        return
    if llm is None:
        raise ValueError("the annotator llm needs an Llm")
    questions = questions_about(candidates, config)
    task = annotation_task()
    asked = ask_in_batches(llm, task, questions, announce) if in_batches else llm.ask_many(task, questions)
    for question, answer in asked:
        candidate, cleared = question.tag
        if isinstance(answer, Exception):
            yield candidate, answer
        else:
            by_rules = _reading_of(cleared, config)
            reading = joined(read_answer(cleared, answer, config.max_title_chars), by_rules)
            found = reading.to_annotation(source_of(answer))
            yield candidate, held_by_rules(found, by_rules.to_annotation(SOURCE)) if question.is_alone else found


def questions_about(candidates: Iterable[Candidate], config: AnnotateConfig) -> Iterator[Question]:
    """The questions that the annotator "llm" asks about these candidates; also used for a forecast."""
    return annotation_questions(candidates, config.max_title_chars, config.max_description_chars)


def _reading_of(candidate: Candidate, config: AnnotateConfig) -> Reading:
    return read_text(candidate.title, candidate.description, candidate.uploader, tags_of(candidate), config)
