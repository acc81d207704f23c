"""Stand-ins for the answers of a good language model, made by the rules: for tests of anything but the answers."""

from __future__ import annotations

import json

from aria_data.annotate import annotate
from aria_data.annotate.model_tags import FIELDS
from aria_data.records import Candidate
from aria_data.screen import ScreenConfig, screen

TITLES = [
    "Beethoven: Piano Sonata No. 14 in C-sharp minor, Op. 27 No. 2: III. Presto agitato",
    "Martha Argerich - Chopin: Mazurka in A minor, Op. 17 No. 4",
    "Bach: Prelude and Fugue in C minor, BWV 847: Fugue",
    "Haydn: Sonata in E flat, Hob. XVI:52",
    "Scott Joplin - Maple Leaf Rag",
    "track01",
]


def candidate(number: int, title: str, description: str = "", uploader: str = "") -> Candidate:
    return Candidate(f"c{number}", "web", "", "", title, description, uploader)


def from_data(data: dict[str, str]) -> Candidate:
    return candidate(0, data.get("title", ""), data.get("description", ""), data.get("uploader", ""))


def judge(data: dict[str, str]) -> dict[str, object]:
    """The answer of the stand-in for a good model. The rules give it, which is enough: the tests are about the rest."""
    score = screen(from_data(data), ScreenConfig(scorer="rules")).relevance_score
    return {"relevance_score": score, "evidence": data.get("title", "")[:40], "reason": "As the words say."}


def said(**fields: tuple[str, str]) -> dict[str, object]:
    given = {name: fields.get(name, ("", "")) for name in FIELDS}
    return {name: {"value": value, "quote": quote} for name, (value, quote) in given.items()}


def tag(data: dict[str, str]) -> dict[str, object]:
    """The answer of the stand-in for a good model. The rules give it, which is enough: the tests are about the rest."""
    read = annotate(data.get("title", ""), data.get("description", ""), data.get("uploader", ""))
    evidence = json.loads(read.evidence or "{}")
    fields = {name: (getattr(read, name), evidence.get(name, "")) for name in FIELDS if getattr(read, name)}
    fields["catalogue"] = (evidence.get("catalogue_number", ""), evidence.get("catalogue_number", ""))
    return said(**fields)
