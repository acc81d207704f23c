"""`make benchmark`: its table, and that a ratio which is halved is seen. What it measures is no matter here."""

from __future__ import annotations

import sys

from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from ratios import Ratio, halved, table


def test_a_ratio_that_is_halved_is_named_and_one_that_is_new_is_not():
    found = [Ratio("slow now", 4.0, 4.0, "a peer"), Ratio("as before", 1.0, 4.0, "a peer")]
    assert halved(found, {"slow now": 2.1, "as before": 4.4}) == ["slow now"]
    assert halved(found, {"slow now": 1.9}) == []


def test_the_table_has_a_line_a_ratio_with_what_it_is_against():
    lines = table([Ratio("transcribe a file", 2.0, 9.0, "transkun's own command")]).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["transcribe", "a", "file", "2.00s", "9.00s", "4.50", "transkun's", "own", "command"]
