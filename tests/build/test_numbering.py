"""What refers to music follows the music: removals, selections and numbers, under other settings and weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from fakes import FakeClassifier, melody, noise, write_audio

from aria_data.manifest import Manifest
from aria_data.release import SelectedRow
from aria_data.segment.identity import NUMBERS, NumberedSpan
from aria_data.storage.appending import Appending, Closed
from aria_data.storage.stage_tables import StageTable
from flows.define_subset import define_selection
from flows.engine.context import BuildContext
from flows.remove import remove_items

FINE = ("segment.min_segment_s=4", "segment.max_gap_s=0.5")
COARSE = ("segment.min_segment_s=4", "segment.max_gap_s=30", "segment.switch_cost=200")
LATE = ("segment.min_segment_s=9", "segment.max_gap_s=0.5")  # leaves the first, short piece out


@pytest.fixture
def source(tmp_path):
    """A recital of four pieces of 6, 12, 14 and 16 s, with 4 s of noise between them."""
    pieces = [melody(seconds, seed) for seed, seconds in enumerate((6, 12, 14, 16))]
    parts = [part for piece in pieces for part in (piece, noise(4))]
    write_audio(tmp_path / "in" / "recital.wav", np.concatenate(parts))
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def spans(out, *columns: str) -> dict[str, tuple]:
    rows = [row for row in Manifest(out).rows() if row["removed_in"] is None]
    return {
        row["segment_id"][-1]: (round(row["start_s"]), round(row["end_s"]), *(row[c] for c in columns)) for row in rows
    }


def id_of(out, number: int) -> str:
    return next(row["segment_id"] for row in Manifest(out).rows() if row["number"] == number)


def test_other_settings_leave_each_piece_its_number(build, source, out):
    build(source, out, settings=FINE)
    assert spans(out) == {"0": (0, 6), "1": (10, 22), "2": (26, 40), "3": (44, 60)}
    build(source, out, settings=LATE)
    assert spans(out) == {"1": (10, 22), "2": (26, 40), "3": (44, 60)}
    summary = build(source, out, settings=FINE)
    assert spans(out) == {"0": (0, 6), "1": (10, 22), "2": (26, 40), "3": (44, 60)}
    assert summary.stages["transcribe"].num_worked_on == 0


def test_a_piece_found_later_gets_a_number_of_its_own_and_takes_none(build, source, out):
    build(source, out, settings=LATE)
    assert spans(out) == {"0": (10, 22), "1": (26, 40), "2": (44, 60)}
    build(source, out, settings=FINE)
    assert spans(out) == {"0": (10, 22), "1": (26, 40), "2": (44, 60), "3": (0, 6)}


@pytest.mark.parametrize("settings", [FINE, LATE, COARSE])
def test_what_was_taken_down_stays_down_under_any_settings_and_no_other_goes_with_it(build, source, out, settings):
    build(source, out, settings=LATE)
    hashes = {row["midi_sha256"] for row in Manifest(out).rows() if row["number"] == 1}
    remove_items(out, [id_of(out, 1)], "rights")
    summary = build(source, out, settings=settings)
    rows = [row for row in Manifest(out).rows() if row["removed_in"] is None]
    assert rows
    assert all(row["end_s"] <= 26.1 or row["start_s"] >= 39.9 for row in rows)
    assert not hashes & {row["midi_sha256"] for row in rows}
    assert "1" not in spans(out)
    assert summary.rejections.get("remove: removed") == 1
    kept = sum(row["end_s"] - row["start_s"] for row in rows)
    assert kept > 25  # the neighbours are there


def test_other_weights_of_the_classifier_bring_nothing_back_either(build, source, out, monkeypatch):
    build(source, out, settings=LATE)
    remove_items(out, [id_of(out, 1)], "rights")
    monkeypatch.setattr(FakeClassifier, "sha256", "d" * 64)
    monkeypatch.setattr(BuildContext, "classifier_sha256", "d" * 64)
    build(source, out, settings=FINE)
    assert spans(out) == {"0": (10, 22), "2": (44, 60), "3": (0, 6)}


def test_a_selection_marks_the_music_that_it_chose(build, source, out):
    build(source, out, settings=LATE)
    define_selection(out, "mine", [SelectedRow(id_of(out, 1), 2.0, 1.0, "kept: mine")], {"summary": "one"})
    build(source, out, settings=FINE)
    assert spans(out, "in_mine", "weight_mine") == {
        "0": (10, 22, False, None), "1": (26, 40, True, 2.0), "2": (44, 60, False, None), "3": (0, 6, False, None),
    }  # fmt: skip


def test_the_version_in_which_a_piece_appeared_first_stays(build, source, out):
    build(source, out, settings=LATE)
    build(source, out, settings=FINE)
    assert {key: first for key, (*_, first) in spans(out, "first_version").items()} == {"0": 1, "1": 1, "2": 1, "3": 2}


def test_a_dataset_made_before_numbers_were_recorded_knows_them_from_its_versions(build, source, out):
    build(source, out, settings=LATE)
    remove_items(out, [id_of(out, 1)], "rights")
    shutil.rmtree(out / "tables" / "numbers")  # as earlier code left it
    build(source, out, settings=FINE)
    assert spans(out) == {"0": (10, 22), "2": (44, 60), "3": (0, 6)}
    build(source, out, settings=LATE)
    assert spans(out) == {"0": (10, 22), "2": (44, 60)}


def test_files_of_older_versions_that_hold_what_was_removed_go_under_whatever_number(build, source, out):
    build(source, out, settings=COARSE)
    whole = {row["number"]: row["midi_path"] for row in Manifest(out).rows()}
    build(source, out, settings=(*FINE, "segment.switch_cost=2"))
    rows = {row["segment_id"]: row for row in Manifest(out).rows()}
    gone = next(row for row in rows.values() if row["number"] not in whole and row["start_s"] > 5)
    kept = [row["midi_path"] for row in rows.values() if row["segment_id"] != gone["segment_id"]]
    remove_items(out, [gone["segment_id"]], "rights")
    assert not any((out / path).exists() for path in (*whole.values(), gone["midi_path"]))
    assert all((out / path).exists() for path in kept)


def test_what_is_removed_is_what_was_released_also_after_a_build_that_could_not_finish(build, source, out):
    build(source, out, settings=(*LATE, "segment.lead_s=3"))
    source.rename(source.with_name("away"))
    build(None, out, settings=(*LATE, "segment.lead_s=0"))
    assert spans(out)["1"] == (24, 40)  # its audio is away: the row stays
    remove_items(out, [id_of(out, 1)], "rights")
    source.with_name("away").rename(source)
    build(source, out, settings=(*FINE, "segment.min_segment_s=1", "segment.lead_s=3"))
    assert all(end <= 24.1 or start >= 39.9 for start, end in spans(out).values())


@pytest.mark.parametrize("is_dry", [False, True])
def test_numbers_found_when_all_shards_have_passed_are_recorded_before_the_release(
    build, source, out, monkeypatch, is_dry
):
    build(source, out, settings=FINE)
    table = StageTable(out, NUMBERS, NumberedSpan)
    before = {outcome.item_id for outcome in table.all()}
    shutil.rmtree(table.path)
    (out / "index" / "last_build.json").unlink()
    monkeypatch.setattr("aria_data.storage.appending.FLUSH_AFTER_S", 3600.0)
    opened = []
    monkeypatch.setattr(Appending, "to", lambda self, table, to=Appending.to: (opened.append(self), to(self, table))[1])
    build(source, out, settings=FINE, dry_run=is_dry)
    assert {outcome.item_id for outcome in table.all()} == (set() if is_dry else before)
    with pytest.raises(Closed):
        opened[-1].to(table).append([])
