"""Why something is in a dataset or not, from what the tables hold."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner
from fakes import melody, noise, write_audio

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from flows.cli import cli
from flows.explain import explain
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")


@pytest.fixture
def dataset(tmp_path, build):
    source = tmp_path / "recordings"
    write_audio(source / "a.wav", melody(8, 1))
    shutil.copy(source / "a.wav", source / "b copy.wav")
    write_audio(source / "rain.wav", noise(8))
    (source / "broken.mp3").write_bytes(b"no audio")
    build(source, tmp_path / "dataset", SETTINGS)
    return tmp_path / "dataset"


def test_a_segment_is_explained_with_its_subsets_and_every_limit(dataset):
    (row,) = Manifest(dataset).rows()
    found = explain(dataset, row["segment_id"])
    assert found.facts["source_url"] == "a.wav"
    assert any("in the manifest since version 1" in line for line in found.reasons)
    assert {subset for subset, *_ in found.limits} == {"in_pruned", "in_deduplicated"}
    failed = {limit.split(" ")[0] for subset, limit, _, holds in found.limits if not holds and subset == "in_pruned"}
    assert bool(failed) != row["in_pruned"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rain.wav", "turned away at segment: no_solo_piano, measured 0.1"),
        ("broken.mp3", "failed at ingest: not_audio"),
        ("b copy.wav", "turned away at deduplicate: same_bytes. the same file as a.wav"),
    ],
)
def test_what_was_turned_away_is_explained_with_stage_reason_and_number(dataset, name, says):
    assert any(says in line for line in explain(dataset, name).reasons)


def test_what_was_removed_says_when_and_why(dataset):
    (row,) = Manifest(dataset).rows()
    remove_items(dataset, [row["segment_id"]], "takedown")
    reasons = explain(dataset, row["segment_id"]).reasons
    assert any("removed in version 2: takedown" in line for line in reasons)


def test_what_nobody_knows_is_one_line(dataset, tmp_path):
    with pytest.raises(UsageError, match="knows nothing of nope"):
        explain(dataset, "nope")
    with pytest.raises(DatasetNotFound):
        explain(tmp_path / "nowhere", "nope")


def test_the_command_speaks_to_people_and_machines(dataset):
    (row,) = Manifest(dataset).rows()
    said = CliRunner().invoke(cli, ["explain", str(dataset), row["segment_id"], "--all"], catch_exceptions=False)
    assert "in the manifest since version 1" in said.stdout
    said = CliRunner().invoke(cli, ["explain", str(dataset), "rain.wav", "--json"], catch_exceptions=False)
    assert json.loads(said.stdout)["facts"]["source_url"] == "rain.wav"
