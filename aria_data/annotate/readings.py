"""The values read from one text, the words that each was read from, and the confidence of the whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from aria_data.records import Annotation
from aria_data.repertoire import catalogue_numbers, find_composer, find_form
from aria_data.repertoire.composers import composers
from aria_data.text import fold

MAX_EVIDENCE_CHARS = 120  # per field

# The confidence that each kind of evidence alone gives, 0 to 1. The numbers are ours. The confidence of an annotation
# is 1 - product(1 - belief) over the kinds present, halved if two of them contradict each other.
BELIEF = {
    "composer tag": 0.9,
    "composer full name": 0.85,
    "composer surname, initials": 0.8,
    "composer alias": 0.75,
    "composer surname": 0.7,
    "composer by catalogue": 0.7,
    "composer by title": 0.6,
    "composer in description": 0.5,
    "catalogue number": 0.6,
    "known title": 0.5,
    "title": 0.2,
    "form": 0.1,
    "key": 0.1,
    "performer": 0.1,
}


@dataclass
class Reading:
    """What has been read so far: values, the words they came from, and the kinds of evidence found."""

    values: dict[str, str] = field(default_factory=dict)  # by field of `Annotation`
    evidence: dict[str, str] = field(default_factory=dict)  # the words, by field
    kinds: set[str] = field(default_factory=set)  # keys of `BELIEF`
    has_conflict: bool = False  # two kinds of evidence contradict each other
    is_several: bool = False  # the text names several works

    def put(self, name: str, value: str, words: str, kind: str = "") -> None:
        """Fill a field if it is still empty; `words` are its evidence, `kind` a key of `BELIEF`."""
        if value and name not in self.values:
            self.values[name] = value
            self.evidence[name] = words[:MAX_EVIDENCE_CHARS]
            self.kinds |= {kind} - {""}

    def put_composer(self, composer_id: str, words: str, kind: str) -> None:
        """Fill the composer's name and id."""
        self.put("composer", composers()[composer_id].name, words, kind)
        self.put("composer_id", composer_id, words)

    def drop(self, *names: str) -> None:
        """Empty these fields."""
        for name in names:
            self.values.pop(name, None)
            self.evidence.pop(name, None)

    def get(self, name: str) -> str:
        """The value of a field, or ""."""
        return self.values.get(name, "")

    def to_annotation(self, source: str) -> Annotation:
        """Make the record."""
        return Annotation(
            **self.values,
            annotation_source=source,
            annotation_confidence=confidence(self.kinds, self.has_conflict),
            evidence=json.dumps(self.evidence, ensure_ascii=False, sort_keys=True) if self.evidence else "",
        )


def confidence(kinds: set[str], has_conflict: bool = False) -> float:
    """The confidence, 0 to 1, that these kinds of evidence give; see `BELIEF`."""
    doubt = 1.0
    for kind in kinds:
        doubt *= 1.0 - BELIEF[kind]
    return round((1.0 - doubt) * (0.5 if has_conflict else 1.0), 3)


def says_work(text: str) -> bool:
    """Whether a text names a piece of music or who wrote it."""
    return bool(find_form(fold(text)) or catalogue_numbers(text) or find_composer(text))
