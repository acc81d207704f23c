"""The benchmark's table: lines come from a comparison by the same protocol, and the page shows what is recorded."""

from __future__ import annotations

import sys

import pytest
from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from pruning_table import BEGIN, DATA_SHA256, DOCS, END, draw_files, lines_of, merged, page_with, read_lines, table_of

from aria_data.errors import UsageError


def comparison(**config) -> dict:
    row = {
        "name": "mine", "num_files": 20, "fraction": 0.1, "num_trainings": 2, "loss": {"mean": 2.5},
        "against_random": {"mean": -0.02, "low": -0.03, "high": -0.01}, "distance": 0.3,
        "distance_against_random": None,
    }  # fmt: skip
    made = {"num_steps": 200, "test_share": 0.2, "split_seed": 0} | config
    return {"rows": [row], "about": {"config": made, "data_sha256": DATA_SHA256}}


def test_a_line_that_is_added_again_replaces_the_one_before():
    first, second = (lines_of(comparison(), by, "abc") for by in ("me", "you"))
    lines = merged(merged([], first), second)
    assert [(line["name"], line["by"], line["verdict"]) for line in lines] == [("mine", "you", "better")]
    assert "| mine | 20 | 2 | 2.500 | -0.020 (-0.030 to -0.010): better | 0.300 | you, abc |" in table_of(lines)
    page = page_with(f"# A page\n\n{BEGIN}\nold\n{END}\n\nits end\n", lines)
    assert "old" not in page
    assert page.endswith(f"{END}\n\nits end\n")


@pytest.mark.parametrize("other", [{"num_steps": 400}, {"split_seed": 1}])
def test_another_protocol_is_refused_with_both_values(other):
    with pytest.raises(UsageError, match=f"is {next(iter(other.values()))}, and the benchmark has"):
        lines_of(comparison(**other), "me", "abc")
    with pytest.raises(UsageError, match="data_sha256 is 123"):
        lines_of(comparison() | {"about": comparison()["about"] | {"data_sha256": "123"}}, "me", "abc")


def test_the_page_shows_the_lines_that_are_recorded():
    page, lines = (DOCS / "pruning-benchmark.md").read_text(), read_lines(DOCS / "pruning-benchmark.csv")
    assert lines
    assert page == page_with(page, lines), "python benchmarks/pruning_table.py show"


def test_the_files_are_drawn_by_their_names_without_the_scores(tmp_path):
    for name in ("Bach/1/a.mid", "Bach/1/midi_score.mid", "Haydn/2/b.mid"):
        (tmp_path / "asap" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "asap" / name).write_bytes(b"")
    assert draw_files(tmp_path / "asap", tmp_path / "out") == 2
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.mid")) == ["a.mid", "b.mid"]
