"""The table in docs/audio.md is true, for inputs made here, in a build's way of reading and in that of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from audio_kinds import KINDS

from aria_data.audio import AudioReader, IntegrityLimits, inspect, require_whole
from aria_data.errors import AudioUnreadable

DOCUMENT = Path(__file__).parents[2] / "docs" / "audio.md"


def rows() -> dict[str, tuple[str, str]]:
    """Give each input's verdict, and its reason or note."""
    lines = [line.split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return {cells[1].strip(): (cells[2].strip(), cells[3].strip(" `")) for cells in lines[1:]}


def test_the_table_has_every_input_that_is_tried():
    assert list(rows()) == list(KINDS)


def as_a_build(path: Path) -> tuple[str, str]:
    facts = inspect(path)
    require_whole(path.name, facts, IntegrityLimits())
    return ("read, with a note" if facts.notes else "read"), "; ".join(facts.notes)


def as_a_command(path: Path) -> tuple[str, str]:
    with AudioReader(path, 16_000, 1, IntegrityLimits()) as reader:
        assert sum(map(len, reader.blocks())) > 0
        assert reader.found is not None
        return ("read, with a note" if reader.found.notes else "read"), "; ".join(reader.found.notes)


@pytest.mark.parametrize("name", KINDS)
def test_a_row_of_the_table_is_true(tmp_path, name):
    path = KINDS[name](tmp_path)
    found = []
    for read in (as_a_build, as_a_command):
        try:
            found.append(read(path))
        except AudioUnreadable as error:
            found.append(("refused", error.reason))
    assert found[0] == found[1]
    verdict, reason = rows()[name]
    assert found[0][0] == verdict
    assert found[0][1] == reason if verdict == "refused" else reason in found[0][1]
