"""What a view of the table shows: search, condition, facets, ranges, order, page. Each has an address that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PAGE_ROWS = 100
MAX_PAGE = 1_000_000
MAX_TEXT_CHARS, MAX_WHERE_CHARS = 300, 2000
MEASURES = (  # that have a histogram to filter by
    "duration_s", "note_density", "pitch_entropy", "longest_silence_s", "audio_score", "transcription_confidence",
    "onset_agreement", "chroma_agreement",
)  # fmt: skip
FACETS = ("composer", "period", "genre", "split", "source", "licence")  # columns that are filtered by one value
NOT_REVIEWED = "none"
REVIEWS = ("good", "bad", "unsure", NOT_REVIEWED)
Range = tuple[float | None, float | None]  # least, most


@dataclass(frozen=True)
class Filter:
    """What a view shows. `as_query` and `of` are each other's inverse."""

    text: str = ""  # found anywhere in the searched columns, in any case
    where: str = ""  # an SQL condition
    facets: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)  # by measure
    review: str = ""  # one of `REVIEWS`
    sort: str = "segment_id"
    is_descending: bool = False
    page: int = 0

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Read a filter from an address. What cannot be read is left out."""
        ranges = {name: (number_of(query.get(f"min_{name}")), number_of(query.get(f"max_{name}"))) for name in MEASURES}
        page, review = query.get("page", "0"), query.get("review", "")
        return cls(
            query.get("q", "")[:MAX_TEXT_CHARS],
            query.get("where", "")[:MAX_WHERE_CHARS],
            {name: query[name] for name in FACETS if query.get(name)},
            {name: each for name, each in ranges.items() if each != (None, None)},
            review if review in REVIEWS else "",
            query.get("sort", "segment_id"),
            query.get("order") == "desc",
            min(int(page), MAX_PAGE) if page.isascii() and page.isdigit() and len(page) < 9 else 0,
        )

    def as_query(self, **changed: Any) -> dict[str, str]:
        """Give the address's parameters; `changed` ones replace, with None they go."""
        found: dict[str, Any] = {"q": self.text, "where": self.where, **self.facets, "review": self.review}
        for name, (least, most) in self.ranges.items():
            found |= {f"min_{name}": least, f"max_{name}": most}
        found |= {"sort": self.sort, "order": "desc" if self.is_descending else "", "page": self.page or ""} | changed
        return {name: str(value) for name, value in found.items() if value not in (None, "")}

    def without_condition(self) -> Filter:
        return replace(self, where="")


def number_of(text: str | None) -> float | None:
    """The finite number that a text of an address is; None where it is none."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
