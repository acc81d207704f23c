"""Data outlives code: a dataset that was made in November 2026, before the move into rooms, is carried on.

`tests/data/README.md` says how it was made. Its networks were the stand-ins of `fakes`, so the same stand-ins know its
work again; everything else is as a user's dataset of that time.
"""

from __future__ import annotations

import shutil

import pytest
from fakes import melody, write_audio
from places import DATA

from aria_data.manifest import Manifest
from aria_data.pruning import ScoreTable
from aria_data.release import Subsets
from flows.remove import remove_items

CONTENT = {  # what the code of that time gave for its versions
    1: "b24ed18962e32e9796f4002053ced1334486d601543ab4fb470be380abffb58f",
    2: "8c225ba60a98121ca8c9269d185496b8ed05d5193a44cf5e8aa546b8b41c685a",
    3: "e54e1daa09bed8b3ddf272e4c43002307db0a85dc2fbdf8bf3340ff9a089af9e",
    4: "926d4ed9fc3697491246c080790ac86f47880ced34794b336efc7daea64eea6b",
    5: "efa202dc78e6f7dbf64cd649a991849b578a8361d5dbc41e70f83683a019760e",
    6: "efa202dc78e6f7dbf64cd649a991849b578a8361d5dbc41e70f83683a019760e",
}
REMOVED = "web-44f4d51669e47d72_0"
ITS_OWN: tuple[str, ...] = ()  # settings: none are given, so those in its dataset.toml hold


@pytest.fixture
def dataset(tmp_path):
    return shutil.copytree(DATA / "dataset_of_2026", tmp_path / "dataset")


def test_a_dataset_of_earlier_code_is_built_on_and_only_its_texts_are_read_again(dataset, build):
    summary = build(None, dataset, settings=ITS_OWN)
    worked = {name: stage.num_worked_on for name, stage in summary.stages.items() if stage.num_worked_on}
    assert worked == {"annotate": 3}  # since titles are read by more rules; its rows are as before
    assert (summary.version, summary.is_new_version, summary.num_files) == (6, False, 3)
    assert summary.rejections == {
        "deduplicate: same_bytes": 1, "remove: removed": 1, "screen: relevance_score_below_min": 1,
        "segment: no_solo_piano": 1,
    }  # fmt: skip
    assert [line.split(":")[0] for line in summary.failures] == ["not-audio.mp3"]


def test_its_versions_names_and_differences_are_as_they_were(dataset):
    manifest = Manifest(dataset)
    assert {version.number: version.content_sha256 for version in manifest.versions()} == CONTENT
    assert {version.number: version.name for version in manifest.versions() if version.name} == {1: "first", 6: "last"}
    assert [row["segment_id"] for row in manifest.rows("first")] == [
        "web-01dc96b70285361b_0", REMOVED, "web-d9df45615762030c_0",
    ]  # fmt: skip
    assert manifest.diff(3, 4).removed == [REMOVED]
    assert manifest.query("composer_id = 'chopin'").column("segment_id").to_pylist() == ["web-d9df45615762030c_0"]


def test_its_subsets_scores_and_removals_stand(dataset, build):
    assert Subsets(dataset).names() == ["half", "long"]
    assert ScoreTable.load(dataset / "scores" / "v4.parquet").columns.keys() >= {"loss"}
    rows = {row["segment_id"]: row for row in Manifest(dataset).rows()}
    assert sorted(key for key, row in rows.items() if row["in_half"]) == [
        "local-9f72c2d2dccf82d5_0", "web-d9df45615762030c_0",
    ]  # fmt: skip
    assert (rows[REMOVED]["removed_in"], rows[REMOVED]["removal_reason"]) == (4, "asked for")


def test_what_comes_later_joins_it_and_only_that_is_worked_on(dataset, build, tmp_path):
    write_audio(tmp_path / "more" / "Schubert - Impromptu Op. 90 No. 3.flac", melody(12, seed=99))
    summary = build(tmp_path / "more", dataset, settings=ITS_OWN)
    assert (summary.version, summary.num_files) == (7, 4)
    worked = {name: stage.num_worked_on for name, stage in summary.stages.items()}
    assert worked["transcribe"] == worked["classify"] == worked["ingest"] == 1
    new = Manifest(dataset).diff(6, 7)
    away = {"local-9f72c2d2dccf82d5_0": ["audio_reachable"]}  # its folder does not exist any more
    assert (len(new.added), new.removed, new.changed) == (1, [], away)
    remove_items(dataset, new.added, "a test")
    assert Manifest(dataset).version() == 8
