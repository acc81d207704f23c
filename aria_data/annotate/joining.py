"""Join what a model read of a text with what the rules read: the rules win where they are sure, and fill what is empty.

Fields that belong together come from one reader: a composer with the id, a work with its number, piece and movement.
The confidence is that of the evidence in the end, not the model's own word.
"""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.annotate.readings import Reading


@dataclass(frozen=True)
class Group:
    """Fields that come from one reader, and the kinds of evidence (`readings.BELIEF`) that speak for them."""

    fields: tuple[str, ...]
    kinds: frozenset[str]


_NAMED = frozenset({
    "composer tag", "composer full name", "composer surname, initials", "composer alias", "composer surname",
    "composer by catalogue",
})  # fmt: skip
COMPOSER = Group(("composer", "composer_id"), _NAMED | {"composer by title", "composer in description"})
PERFORMER = Group(("performer", "performer_id"), frozenset({"performer"}))
WORK = Group(
    ("catalogue", "catalogue_number", "piece_number", "movement", "composition_id"),
    frozenset({"catalogue number", "known title"}),
)
SINGLE = {
    "title": Group(("title",), frozenset({"title"})),
    "form": Group(("form",), frozenset({"form"})),
    "key": Group(("key",), frozenset({"key"})),
    "genre": Group(("genre",), frozenset()),
    "period": Group(("period",), frozenset()),
}
_RULES_ARE_SURE = ("form", "key", "genre", "period")  # read by lists and parsers, from the whole text


def joined(by_model: Reading, by_rules: Reading) -> Reading:
    """Join two readings of one text, those of a model and of the rules."""
    result = Reading(is_several=by_rules.is_several)
    named = bool(by_rules.kinds & _NAMED) and bool(by_rules.get("composer_id"))
    _take(result, COMPOSER, *_order(by_model, by_rules, named))
    _take(result, PERFORMER, *_order(by_model, by_rules, bool(by_rules.get("performer_id"))))
    if not by_rules.is_several:  # the works of several have no single number
        known = bool(by_rules.get("composition_id") or by_rules.get("catalogue_number"))
        _take(result, WORK, *(each for each in _order(by_model, by_rules, known) if _fits(each, result)))
    for name, group in SINGLE.items():
        _take(result, group, *_order(by_model, by_rules, name in _RULES_ARE_SURE))
    people = {reading.get("composer_id") for reading in (by_model, by_rules)} - {""}
    result.has_conflict = by_rules.has_conflict or len(people) > 1
    return result


def _order(by_model: Reading, by_rules: Reading, rules_first: bool) -> tuple[Reading, Reading]:
    return (by_rules, by_model) if rules_first else (by_model, by_rules)


def _fits(reading: Reading, result: Reading) -> bool:
    """Whether a reading's work is by the composer who was taken."""
    return reading.get("composer_id") in ("", result.get("composer_id"))


def _take(result: Reading, group: Group, *readings: Reading) -> None:
    """Take a group of fields from the first reading that has any of them."""
    for reading in readings:
        if any(reading.get(name) for name in group.fields):
            for name in group.fields:
                result.put(name, reading.get(name), reading.evidence.get(name, ""))
            result.kinds |= reading.kinds & group.kinds
            return
