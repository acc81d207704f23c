"""The picture of the rooms in docs/ is that of the code."""

from __future__ import annotations

import re
import sys

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def drawing():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw_rooms
    finally:
        sys.path.pop(0)
    return draw_rooms


def test_the_picture_shows_the_rooms_and_imports_of_today(drawing):
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == drawing.draw(), "run `make rooms`"


def test_every_room_stands_above_what_it_imports(drawing):
    names = drawing.rooms()
    assert len(names) == len(set(names)) > 30
    assert all(imported < importer for importer, imported in drawing.imports(names))


def test_every_folder_is_in_the_architecture(drawing):
    page = (ROOT / "aria_data" / "architecture.md").read_text(encoding="utf-8")
    for name in drawing.rooms():
        short = name.rpartition(".")[2]
        assert re.search(rf"\b{short}\b", page), f"architecture.md does not mention {name}"


def test_every_file_and_folder_that_the_architecture_names_exists():
    page = (ROOT / "aria_data" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]*(?:\.[a-z]+)?)`", page)
    assert len(named) > 30
    missing = [path for path in named if not any((ROOT / base / path).exists() for base in ("", "aria_data", "flows"))]
    assert missing == []
