"""Why something is in a dataset or not, from the dataset's tables."""

from __future__ import annotations

import json
import math
import shutil

import pytest
from click.testing import CliRunner
from fakes import manifest_row, melody, noise, write_audio

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.measure import MEASURES
from aria_data.records import Measurement
from aria_data.release import SelectedRow, SubsetRecipe
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from flows import define_subset as subsetting
from flows.cli.command import cli
from flows.remove import remove_items
from flows.show.differences import reasons_of
from flows.show.explain import explain

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
        ("rain.wav", "rejected at segment: no_solo_piano, measured 0.1"),
        ("broken.mp3", "failed at ingest: not_audio"),
        ("b copy.wav", "rejected at deduplicate: same_bytes. the same file as a.wav"),
    ],
)
def test_what_was_rejected_is_explained_with_stage_reason_and_number(dataset, name, says):
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


def test_a_candidate_is_explained_by_its_id_and_a_removed_file_by_its_path(dataset):
    (row,) = Manifest(dataset).rows()
    candidate_id = explain(dataset, "a.wav").facts["candidate_id"]
    found = explain(dataset, candidate_id)
    assert [one["segment_id"] for one in found.rows] == [row["segment_id"]]
    assert any("in the manifest since version 1" in line for line in found.reasons)
    remove_items(dataset, [row["recording_id"]], "takedown")
    for name in ("a.wav", candidate_id, row["recording_id"], row["segment_id"]):
        reasons = explain(dataset, name).reasons
        assert any("removed in version 2: takedown" in line for line in reasons), name
        assert any(line.startswith(f"{row['recording_id']}: removed for good") for line in reasons), name


def test_a_removal_by_path_is_told_of_the_candidate_and_of_the_segment(dataset):
    (row,) = Manifest(dataset).rows()
    candidate_id = explain(dataset, "a.wav").facts["candidate_id"]
    remove_items(dataset, ["a.wav"], "takedown")
    for name in (candidate_id, row["segment_id"]):
        assert any(line.startswith("a.wav: removed for good") for line in explain(dataset, name).reasons), name


def reasons_for(root, column: str, segment_id: str) -> str:
    (line,) = [line for line in explain(root, segment_id).reasons if column in line]
    return line.removeprefix(f"{segment_id}: ")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (
            SubsetRecipe(where="note_density > 99"),
            "not in_mine, because its condition does not hold: note_density > 99",
        ),
        (
            SubsetRecipe(limits="heavy"),
            "not in_mine, because its limits are heavy: note_density_below_min, measured 0.5",
        ),
    ],
)
def test_a_recipe_says_what_leaves_a_row_out(dataset, recipe, says):
    (row,) = Manifest(dataset).rows()
    measured = Measurement(
        row["segment_id"], dict.fromkeys(MEASURES, math.nan) | {"num_notes": 99, "note_density": 0.5}
    )
    shutil.rmtree(dataset / "tables" / "measure")
    StageTable(dataset, "measure", Measurement).append([Outcome(row["segment_id"], "x", DONE, record=measured)])
    subsetting.define_recipe(dataset, "mine", recipe)
    assert reasons_for(dataset, "in_mine", row["segment_id"]) == says
    subsetting.define_recipe(dataset, "mine", SubsetRecipe(where="num_notes > 0"))
    assert "in the manifest since version 1" in reasons_for(dataset, "in_mine", row["segment_id"])


def test_limits_of_a_file_of_ones_own_are_listed_beside_the_presets(dataset, tmp_path):
    (row,) = Manifest(dataset).rows()
    limits = tmp_path / "mine.toml"
    limits.write_text("min_note_density = 50\n")
    subsetting.define_recipe(dataset, "mine", SubsetRecipe(limits=str(limits)))
    assert "note_density_below_min, measured" in reasons_for(dataset, "in_mine", row["segment_id"])
    found = {
        limit: holds for subset, limit, _, holds in explain(dataset, row["segment_id"]).limits if subset == "in_mine"
    }
    assert found["min_note_density = 50"] is False


def test_a_recipe_whose_cap_is_full_says_so(tmp_path):
    rows = [
        manifest_row(f"r{n}_0", composition_id="chopin:op9-2", audio_score=0.9 - n / 10, split="train")
        for n in range(2)
    ]
    Manifest(tmp_path).commit(rows)
    subsetting.define_recipe(tmp_path, "one", SubsetRecipe(max_recordings_per_composition=1))
    assert "in_one" in reasons_for(tmp_path, "in_one", "r0_0")
    says = "not in_one, because recordings with higher scores fill its 1 of chopin:op9-2"
    assert reasons_for(tmp_path, "in_one", "r1_0") == says


def test_a_selection_says_why_a_row_is_in_and_that_another_is_not(tmp_path):
    Manifest(tmp_path).commit([manifest_row(f"r{n}_0", split="train") for n in range(2)])
    chosen = [SelectedRow("r0_0", 1.5, None, "kept: hard")]
    subsetting.define_selection(tmp_path, "hard", chosen, {"summary": "the hardest half"})
    reasons = explain(tmp_path, "r0_0").reasons
    assert "r0_0: in_hard with weight 1.5: kept: hard" in reasons
    assert any(line.endswith("in_hard") for line in reasons)  # in the list of its subsets
    says = "not in_hard, because it is none of the 1 chosen: the hardest half"
    assert reasons_for(tmp_path, "in_hard", "r1_0") == says


def test_a_column_that_older_code_did_not_have_is_no_other_split(tmp_path):
    manifest = Manifest(tmp_path)
    old = {"excluded_by": None, "movement": None, "split": "train"}
    new = {"excluded_by": "", "movement": "", "split": "train"}
    manifest.commit([manifest_row(f"r{n}_0", **old) for n in range(4)])
    changes: tuple[dict[str, str], ...] = ({}, {"split": "test"}, {"title": "y"}, {"excluded_by": "mine: notes"})
    manifest.commit([manifest_row(f"r{n}_0", **(new | change)) for n, change in enumerate(changes)])
    for versions in ((1, 2), (2, 1)):
        reasons = reasons_of(tmp_path, manifest.diff(*versions), *versions).changed
        assert list(reasons.values()) == [
            "new columns", "linked now to rows of a stricter split", "other tags", "another exclusion list",
        ]  # fmt: skip


def test_a_new_subset_is_called_a_subset(tmp_path):
    Manifest(tmp_path).commit([manifest_row("r0_0", split="train")])
    subsetting.define_recipe(tmp_path, "mine", SubsetRecipe(where="num_notes > 0"))
    reasons = reasons_of(tmp_path, Manifest(tmp_path).diff(1, 2), 1, 2)
    assert reasons.changed == {"r0_0": "subset in_mine"}
