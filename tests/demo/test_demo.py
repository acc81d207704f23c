"""The demo: what it may empty, and (slow) that all of it ends as it says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from datasets_made import make_rows
from pages import parse
from places import ROOT

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import arrow_schema
from aria_data.midi import Note, Pedal, Performance
from flows.demo.demo import MARK, _between, _empty, _what_to_do_next


def test_the_demo_empties_only_a_folder_that_it_made_itself(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("keep me")
    with pytest.raises(UsageError, match="was not made by the demo"):
        _empty(mine)
    assert (mine / "letter.txt").exists()
    made = tmp_path / "made"
    _empty(made)
    (made / "old.mid").write_bytes(b"")
    _empty(made)
    assert [path.name for path in made.iterdir()] == [MARK]


def test_the_demo_ends_with_a_report_and_the_command_that_opens_the_browser(tmp_path):
    out = tmp_path / "a dataset"
    Manifest(out).commit(make_rows(out, 2))
    report, browser = _what_to_do_next(out)
    assert (out / "report.html").stat().st_size > 10_000
    assert str(out / "report.html") in report
    words = shlex.split(browser.partition(": ")[2])
    assert words[1:] == ["browse", str(out)]
    parse(words)


def test_the_truth_of_a_segment_counts_from_its_start():
    truth = Performance(
        [Note(1, 2, 60, 64), Note(11, 12, 62, 64), Note(20, 21, 64, 64)], [Pedal(11, 13), Pedal(30, 31)]
    )
    assert _between(truth, 10, 20) == Performance([Note(1, 2, 62, 64)], [Pedal(1, 3)])


def test_the_released_manifest_of_the_demo_has_the_columns_of_the_schema():
    lines = (ROOT / "manifests" / "demo" / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == 7
    for line in lines:
        assert list(json.loads(line)) == arrow_schema().names


@pytest.mark.slow
@pytest.mark.timeout(12_000)  # a guard against hanging: two minutes are expected
def test_the_demo_builds_what_it_promises(tmp_path):
    """Real everything: sound, classifier, transcriber, Prefect. Exit 0 means no surprise and F1 >= 0.95."""
    command = [sys.executable, "-m", "flows.cli", "demo", "--out", "dataset", "--recordings", "recordings"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_API_URL", None)
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "mean onset F1" in ended.stdout
