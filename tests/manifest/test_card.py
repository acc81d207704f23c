"""The dataset card: what it says of a version, what it does not know, and text from outside that stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from fakes import manifest_row
from markdown_it import MarkdownIt  # of rich, so always there

from aria_data.manifest import Version, dataset_card
from aria_data.manifest.card import cell, group_table

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "a | b | c\n\n# heading\n---\nlicense: mit\n---",
    "`code` **bold** ~~struck~~ $x$ &copy;",
    "see www.evil.example and me@evil.example",
    "\x1b[31mred\u202eright to left",
)
VERSION = Version(3, "2026-01-02T03:04:05Z", 2, 1.0, 1, "ab" * 32, "")


def rows(count: int, **values) -> list[dict]:
    """Rows of one hour and 1,000 notes each."""
    plain = {"duration_s": 3600.0, "num_notes": 1000, "split": "train", "composer": "Bach", "licence": "CC0"}
    return [manifest_row(f"web-{number}_0", **(plain | values)) for number in range(count)]


def section(card: str, title: str) -> str:
    return next(part for part in card.split("\n## ") if part.startswith(f"{title}\n"))


def test_a_card_names_the_version_and_counts_what_is_in_it():
    card = dataset_card(rows(2), VERSION, {"title": "My piano", "name": "spring"})
    assert card.startswith("# My piano\n")
    assert "2 MIDI files, 2.0 hours, 2,000 notes" in card
    assert f"version 3, called spring (sha256 of its rows: `{'ab' * 32}`)" in card


def test_without_facts_the_versions_own_are_told():
    facts = {"name": "spring", "code": {"version": "0.1.0"}, "config": {"release": {"exclude": ["asap"]}}}
    card = dataset_card(rows(1), replace(VERSION, facts_json=json.dumps(facts)))
    assert "version 3, called spring" in card
    assert "| `version` | 0.1.0 |" in card
    assert "asap" in section(card, "Benchmarks")


def test_removed_rows_are_counted_as_removed_and_nothing_else_is_said_of_them():
    gone = rows(3)[2] | {"removed_in": 2, "removal_reason": "asked for", "composer": "Nobody Else"}
    card = dataset_card([*rows(2), gone], VERSION)
    assert "2 MIDI files" in card
    assert "1 more were removed" in card
    assert "Nobody Else" not in card


def test_licences_have_files_and_hours_and_what_no_source_states_is_said():
    found = section(dataset_card([*rows(2), *rows(1, licence="")], VERSION), "Licences")
    assert "| CC0 | 2 | 2.00 |" in found
    assert "| none stated | 1 | 1.00 |" in found
    assert "For 1.00 hours the source states no licence" in found


def test_quantiles_are_of_what_is_known():
    some = [*rows(1, chroma_agreement=0.5), *rows(1, chroma_agreement=None), *rows(1, onset_agreement=0.25)]
    found = section(dataset_card(some, VERSION), "Quality")
    line = next(line for line in found.splitlines() if "chroma_agreement" in line)
    assert line.split(" | ")[1] == "2"
    assert line.split(" | ")[2:4] == ["0.55", "1"]  # of 0.5 and the 1.5 of the other row


def test_models_of_the_rows_are_named_with_their_weights():
    some = rows(2, transcriber="transkun", transcriber_sha256="5f" * 32, annotation_source="rules")
    found = section(dataset_card(some, VERSION), "How it was made")
    assert f"| transcribes | transkun | `{'5f' * 32}` | 2 |" in found
    assert "| reads titles | rules |  | 2 |" in found


def test_missing_facts_are_said_to_be_missing():
    card = dataset_card(rows(1), 1)
    assert "Version of the code: not stated." in card
    assert "Configuration: not stated." in card
    assert "No benchmark was kept out" in section(card, "Benchmarks")
    assert "No address was given" in section(card, "Removal")


def test_given_facts_are_shown_with_the_names_of_settings():
    facts = {
        "config": {"segment": {"min_segment_s": 30.0}, "release": {"exclude": ["asap", "maestro"]}},
        "code": {"version": "0.1.0"},
        "prompts": [{"name": "screen", "sha256": "12ab"}],
        "exclusions": [{"name": "asap", "num_compositions": 220}],
        "contact": "The keeper",
        "citation": "Us, 2026",
    }
    card = dataset_card([*rows(1), *rows(1, split="excluded")], VERSION, facts)
    assert "| `segment.min_segment_s` | 30.0 |" in card
    assert "| `release.exclude` | asap, maestro |" in card
    assert "| `screen.sha256` | 12ab |" in card
    assert "| `asap.num_compositions` | 220 |" in card
    assert "1 files are in the split `excluded`" in section(card, "Benchmarks")
    assert "Write to The keeper;" in section(card, "Removal")
    assert "Us, 2026" in section(card, "Citing")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_neither_markup_nor_a_link_anywhere(text):
    facts = dict.fromkeys(("title", "name", "contact", "citation"), text) | {
        key: {text: text} for key in ("config", "code", "models", "prompts", "libraries", "counts", "exclusions")
    }
    columns = dict.fromkeys(
        ("composer", "period", "licence", "source", "split", "transcriber", "annotation_source"), text
    )
    card = dataset_card(rows(1, **columns), VERSION, facts, where=text)
    plain = dataset_card(rows(1), VERSION, dict.fromkeys(facts, "x"), where="x")
    assert html_tags(card) <= html_tags(plain)
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert "\n---\n" not in card
    assert headings(card)[1:] == headings(plain)[1:]


def html_tags(card: str) -> set[str]:
    """What a reader of Markdown makes of it, without the text: links, images and scripts would be tags of their own."""
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(card)
    assert not re.search(r"(?:https?://|www\.|@)\S*evil", re.sub(r"<code>.*?</code>", "", rendered))
    return {match.lower() for match in re.findall(r"</?[a-z0-9]+", rendered)}


def headings(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("#")]


def test_a_cell_shows_the_text_as_it_is_where_nothing_is_special():
    assert cell("Antonín Dvořák (1841-1904)") == "Antonín Dvořák (1841-1904)"
    assert cell("R&B_1 | 2") == "R&amp;B\\_1 \\| 2"
    assert cell("https://example.org/a|b") == "`https://example.org/a¦b`"


def test_a_long_list_ends_in_what_is_left_over():
    groups = {f"name {number}": {"num_files": 1, "hours": 0.5} for number in range(25)}
    assert group_table("who", groups, "nobody").splitlines()[-1] == "| 5 others | 5 | 2.50 |"


def test_a_card_of_no_rows_is_a_card():
    assert "0 MIDI files" in dataset_card([], 0)


def test_of_very_many_models_the_first_are_named_and_the_others_counted():
    some = [row for number in range(25) for row in rows(1, transcriber_sha256=f"{number:064x}")]
    found = section(dataset_card(some, VERSION), "How it was made")
    assert found.count("| transcribes |") == 21
    assert "| transcribes | 5 others |  | 5 |" in found
