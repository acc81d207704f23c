"""Which number a segment has: that of the music it holds, whatever settings or weights found it.

A segment is known by its recording and its number. Other settings cut a recording otherwise, so a number belongs to a
span of time: what is mostly the same span keeps the number, what is new gets one that was never used, and what was
removed for good is cut out of everything that is found later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from aria_data.records import Segment

MIN_SHARED = 0.5  # ours: of the longer of two spans; from here on they are the same music
TOLERANCE_S = 0.05  # two cuts of the same sound differ by less than a note
NUMBERS = "numbers"  # the table of all spans that numbers stood for, in the order of `Outcome.measured`


@dataclass(frozen=True, slots=True)
class NumberedSpan:
    """The span that a number of a recording stood for, at one time. The latest of a number counts."""

    recording_id: str
    number: int
    start_s: float
    end_s: float

    @property
    def segment_id(self) -> str:
        return f"{self.recording_id}_{self.number}"


def number_segments(found: Sequence[Segment], known: Iterable[NumberedSpan]) -> list[Segment]:
    """Give the found segments of one recording their numbers, in order of time.

    `known` are the spans of every number ever used in it, those of removed ones too, so that no number is used twice.
    """
    latest = {span.number: span for span in known}
    numbers: dict[int, int] = {}
    candidates = ((place, span) for place in range(len(found)) for span in latest.values())
    pairs = sorted(
        ((_shared(found[place], span), place, span.number) for place, span in candidates),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    for shared, place, number in pairs:
        if shared >= MIN_SHARED and place not in numbers and number not in numbers.values():
            numbers[place] = number
    unused = max(latest, default=-1) + 1
    for place in range(len(found)):
        if place not in numbers:
            numbers[place], unused = unused, unused + 1
    return [replace(segment, number=numbers[place]) for place, segment in enumerate(found)]


def without_spans(
    segments: Iterable[Segment], removed: Sequence[NumberedSpan], min_segment_s: float
) -> tuple[list[Segment], set[int]]:
    """Cut removed spans out of segments. Gives what is left and is long enough, and the numbers that were cut out."""
    left: list[Segment] = []
    hit: set[int] = set()
    for segment in segments:
        pieces = [(segment.start_s, segment.end_s)]
        for span in removed:
            if overlaps(segment, span):
                hit.add(span.number)
                pieces = [piece for start_s, end_s in pieces for piece in _around(start_s, end_s, span)]
        is_whole = pieces == [(segment.start_s, segment.end_s)]
        long_enough = [(start, end) for start, end in pieces if is_whole or end - start >= min_segment_s]
        left += [replace(segment, start_s=start_s, end_s=end_s) for start_s, end_s in long_enough]
    return left, hit


def overlaps(one: Segment | NumberedSpan, other: NumberedSpan) -> bool:
    """Whether two spans of one recording have sound in common."""
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s) > TOLERANCE_S


def _around(start_s: float, end_s: float, span: NumberedSpan) -> list[tuple[float, float]]:
    parts = [(start_s, min(end_s, span.start_s)), (max(start_s, span.end_s), end_s)]
    return [(start, end) for start, end in parts if end > start]


def _shared(segment: Segment, span: NumberedSpan) -> float:
    overlap_s = min(segment.end_s, span.end_s) - max(segment.start_s, span.start_s)
    return max(0.0, overlap_s) / max(segment.end_s - segment.start_s, span.end_s - span.start_s)
