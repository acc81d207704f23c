"""docs/library.md shows every name of the front door, each in few lines. tests/docs/test_pages.py runs its examples."""

from __future__ import annotations

import os

import page_worlds
import pytest
from pages import Reader, blocks_of
from places import ROOT

import aria_data

GUIDE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = [block for block in blocks_of("docs/library.md") if block.language == "python"]
EXAMPLES = [block.code for block in BLOCKS]


def test_a_build_leaves_the_environment_as_it_was_and_sine_tones_are_no_piano(tmp_path, monkeypatch):
    page_worlds.one_recording(tmp_path)
    reader = Reader(tmp_path, monkeypatch)
    before = {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}
    reader.read(BLOCKS[0])
    assert reader.printed == "1 1 {}\n"
    assert {name: value for name, value in os.environ.items() if not name.startswith("KMP_")} == before
    reader.read(BLOCKS[3])
    assert reader.printed == ""


def test_each_example_has_at_most_six_lines_and_every_name_of_the_front_door_is_shown():
    assert len(EXAMPLES) == 5
    assert max(len([line for line in block.splitlines() if line.strip()]) for block in EXAMPLES) <= 6
    assert all(name in GUIDE for name in aria_data.__all__)
    assert all(getattr(aria_data, name).__doc__ for name in aria_data.__all__)
    assert set(aria_data.__all__) <= set(dir(aria_data))
    with pytest.raises(AttributeError, match="nothing"):
        aria_data.nothing  # noqa: B018
