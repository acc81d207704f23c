"""The table of faults in docs/cluster.md names tests that there are."""

from __future__ import annotations

import re

import pytest
from places import ROOT

TABLE = (ROOT / "docs" / "cluster.md").read_text().partition("## Faults\n")[2].partition("\n## ")[0]
NAMED = re.findall(r"`([a-z_]+/test_[a-z_]+\.py)(?:::(test_[a-z0-9_]+))?`", TABLE)


def test_every_fault_of_the_table_has_a_test():
    rows = [row for row in TABLE.splitlines() if row.startswith("| ") and not row.startswith("| fault ")]
    assert len(rows) == 15
    assert all("test_" in row.rsplit("|", 2)[1] for row in rows)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_table_names_is_there(file, name):
    text = (ROOT / "tests" / file).read_text()
    assert not name or f"def {name}(" in text
