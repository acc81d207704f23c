"""Reviews are used: a release leaves out of its subsets what is bad, and `evaluate reviews` counts them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from datasets_made import make_rows
from fakes import melody, write_audio

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.release.reviews import Reviews, reviewed
from aria_data.release.rows_of_segments import ReleaseConfig
from flows.cli.command import cli
from flows.evaluate import reviews


@pytest.fixture
def source(tmp_path):
    (tmp_path / "wide.toml").write_text("max_note_density = 1000.0\n")
    write_audio(tmp_path / "in" / "Satie - Gymnopédie No. 1.wav", melody(8, seed=5))
    return tmp_path / "in"


def test_a_segment_reviewed_as_bad_is_in_no_subset_if_the_setting_says_so(build, source, tmp_path):
    given = ["segment.min_segment_s=5", f"release.pruned_limits={tmp_path / 'wide.toml'}"]
    build(source, tmp_path / "out", settings=given)
    row = Manifest(tmp_path / "out").rows()[0]
    assert row["in_pruned"]
    Reviews(tmp_path / "out").add(row, "bad", ["second sound source"])
    build(source, tmp_path / "out", settings=given)
    assert Manifest(tmp_path / "out").rows()[0]["in_pruned"]  # the default: reviews are only kept
    build(source, tmp_path / "out", settings=[*given, "release.reviews=exclude-bad"])
    left = Manifest(tmp_path / "out").rows()[0]
    assert left["removed_in"] is None
    assert not any(value for name, value in left.items() if name.startswith("in_"))
    Reviews(tmp_path / "out").add(left, "good")
    build(source, tmp_path / "out", settings=[*given, "release.reviews=exclude-bad"])
    assert Manifest(tmp_path / "out").rows()[0]["in_pruned"]


def test_a_review_follows_the_music_not_the_number(tmp_path):
    rows = make_rows(tmp_path, 2, start_s=10.0, end_s=70.0)
    given = Reviews(tmp_path)
    given.add(rows[0], "bad")
    same_music = rows[0] | {"segment_id": "local-0000_7", "number": 7, "start_s": 12.0, "end_s": 71.0}
    other_music = rows[0] | {"start_s": 70.0, "end_s": 130.0}
    part_of_it = rows[0] | {"segment_id": "local-0000_8", "start_s": 10.0, "end_s": 30.0}
    found = reviewed([same_music, other_music, part_of_it, rows[1]], given.all())
    assert list(found) == ["local-0000_7"]
    given.add(same_music, "good")
    assert reviewed([same_music], given.all())["local-0000_7"].verdict == "good"


def test_a_setting_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="reviews is ignore or exclude-bad, not 'maybe'"):
        ReleaseConfig(reviews="maybe")


@pytest.fixture
def reviewed_dataset(tmp_path):
    """Twelve rows: eight good of high agreement, two bad of low, one unsure, one not reviewed."""
    rows = make_rows(tmp_path, 12, start_s=0.0, end_s=60.0)
    for number, row in enumerate(rows):
        row |= {"onset_agreement": 0.9 if number < 8 else 0.3, "in_pruned": number < 9}
    Manifest(tmp_path).commit(rows)
    for number, row in enumerate(rows[:11]):
        Reviews(tmp_path).add(row, "good" if number < 8 else "bad" if number < 10 else "unsure")
    return tmp_path


def test_the_precision_of_a_subset_has_wilsons_interval(reviewed_dataset):
    found = {one.name: one for one in reviews.evaluate(reviewed_dataset).subsets}
    assert (found["all"].num_reviewed, found["all"].num_good) == (10, 8)
    assert (found["in_pruned"].num_reviewed, found["in_pruned"].num_good) == (9, 8)
    assert (found["all"].low, found["all"].high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson (1927), 8 of 10


def test_thresholds_of_a_measure_say_what_is_kept_and_what_is_lost(reviewed_dataset):
    found = [each for each in reviews.evaluate(reviewed_dataset).thresholds if each.measure == "onset_agreement"]
    assert [(each.threshold, each.kept.precision, each.recall) for each in found] == [(0.3, 0.8, 1.0), (0.9, 1.0, 1.0)]


def test_the_command_prints_json_and_draws_pictures(reviewed_dataset, tmp_path):
    arguments = ["evaluate", "reviews", str(reviewed_dataset), "--json", "--plots", str(tmp_path / "plots")]
    asked = CliRunner().invoke(cli, arguments)
    assert json.loads(asked.stdout)["num_unsure"] == 1
    drawn = (tmp_path / "plots" / "precision_of_subsets.svg").read_text()
    assert "in_pruned: 8 of 9 are good" in drawn
    assert drawn.count('id="dot-') == 4
    assert "95 % interval" in CliRunner().invoke(cli, ["evaluate", "reviews", str(reviewed_dataset)]).output


def test_a_dataset_without_reviews_says_where_they_are_given(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 1))
    with pytest.raises(UsageError, match="no segment was reviewed.*aria-data browse"):
        reviews.evaluate(tmp_path)
