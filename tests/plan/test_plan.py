"""A plan says what a build then does: exactly where keys say it, within its bounds where it is an estimate."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import SHORT_SEGMENTS, FakeClassifier, melody, noise, use_fakes, write_audio

from aria_data.records import Candidate
from aria_data.storage.stage_tables import StageTable
from flows.engine import order_build
from flows.engine.context import BuildContext
from flows.engine.crawling import observation
from flows.plan import make_plan
from flows.show.summaries import Plan

SETTINGS = (*SHORT_SEGMENTS, "segment.lead_s=0", "segment.tail_s=0", "screen.scorer=rules",
            "screen.min_relevance_score=3")  # fmt: skip
STAGES = ("screen", "download", "ingest", "classify", "segment", "fingerprint", "transcribe", "measure", "annotate")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Eight recordings: six of music, one of music with a break, one of noise; and a violin by name."""
    from flows.cli.jobs import run_build

    root = tmp_path_factory.mktemp("plan")
    for seed in range(6):
        write_audio(root / "in" / f"Chopin - Nocturne {seed}.flac", melody(8, seed))
    parts = [melody(9, 7), noise(12), melody(9, 8), noise(5), melody(6, 9)]
    write_audio(root / "in" / "a recital.flac", np.concatenate(parts))
    write_audio(root / "in" / "rain.flac", noise(8))
    write_audio(root / "in" / "violin sonata.flac", melody(8, 10))
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        run_build(root / "in", root / "out", settings=SETTINGS, with_prefect=False)
    return root


@pytest.fixture
def world(finished, tmp_path, monkeypatch):
    """A copy that a test may change."""
    use_fakes(monkeypatch)
    shutil.copytree(finished / "out", tmp_path / "out")
    shutil.copytree(finished / "in", tmp_path / "in", copy_function=shutil.copy2)
    for place in (tmp_path / "in").iterdir():  # the dataset knows its files where they were
        place.unlink()
    (tmp_path / "in").rmdir()
    (tmp_path / "in").symlink_to(finished / "in")
    return tmp_path


def planned(world: Path, source: Path | None = None, settings=(), **options) -> Plan:
    before = contents(world / "out")
    plan = make_plan(order_build(source, world / "out", None, settings, dry_run=True), **options)
    assert contents(world / "out") == before
    return plan


def contents(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def to_do(plan: Plan) -> dict[str, int]:
    return {stage.name: stage.num_expected for stage in plan.stages if stage.num_expected}


def worked(summary) -> dict[str, int]:
    return {name: one.num_worked_on for name, one in summary.stages.items() if name in STAGES and one.num_worked_on}


def is_exact(plan: Plan) -> bool:
    return not any(stage.estimate for stage in plan.stages)


def test_where_nothing_is_new_a_plan_has_nothing_to_do(world, build):
    plan = planned(world)
    assert (to_do(plan), plan.is_anything_to_do, plan.seconds) == ({}, False, 0.0)
    assert is_exact(plan)
    assert worked(build(None, world / "out", settings=())) == {}


def test_new_files_are_counted_to_the_decoder_and_expected_after_it_as_often_as_before(world, build):
    for seed in range(4):
        write_audio(world / "more" / f"Satie - Gymnopédie {seed}.flac", melody(8, 20 + seed))
    write_audio(world / "more" / "violin concerto.flac", melody(8, 30))
    plan = planned(world, world / "more")
    done = worked(build(world / "more", world / "out", settings=()))
    assert (to_do(plan)["screen"], to_do(plan)["ingest"]) == (done["screen"], done["ingest"]) == (5, 4)
    stages = {stage.name: stage for stage in plan.stages}
    for name in ("classify", "segment", "fingerprint", "transcribe", "measure", "annotate"):
        assert 1 <= stages[name].num_expected <= 5, name
        assert done[name] <= stages[name].num_at_most, name
        assert "recordings of this dataset: 88% have piano" in stages[name].estimate, name
    assert 20 < stages["classify"].audio_expected_s < 60
    assert stages["transcribe"].audio_at_most_s >= 4 * 8


def test_another_transcriber_does_transcription_and_measures_again_and_nothing_before_them(world, build, monkeypatch):
    monkeypatch.setattr(BuildContext, "transcriber_sha256", "e" * 64)
    plan = planned(world)
    done = worked(build(None, world / "out", settings=()))
    assert is_exact(plan)
    assert to_do(plan) == {"transcribe": 9, "measure": 9}
    assert done["transcribe"] == 9
    assert done.get("measure", 0) <= 9  # the same notes are not measured again
    stage = next(one for one in plan.stages if one.name == "transcribe")
    assert stage.audio_expected_s == pytest.approx(6 * 8 + 9 + 9 + 6, abs=3)


class Severe(FakeClassifier):
    """Other weights, which hear the same: every recording is classified and cut again."""

    sha256 = "d" * 64


def test_other_weights_of_the_classifier_do_classify_and_segment_again_and_perhaps_the_rest(world, build, monkeypatch):
    monkeypatch.setattr(BuildContext, "classifier", Severe())
    monkeypatch.setattr(BuildContext, "classifier_sha256", Severe.sha256)
    plan = planned(world)
    stages = {stage.name: stage for stage in plan.stages}
    done = worked(build(None, world / "out", settings=()))
    assert (stages["classify"].num_expected, stages["segment"].num_expected) == (8, 8)
    assert not stages["classify"].estimate
    assert not stages["segment"].estimate
    assert stages["transcribe"].num_expected == 9  # every span may move
    assert stages["transcribe"].estimate
    assert done == {"classify": 8, "segment": 8}
    assert stages["fingerprint"].num_expected == 0


@pytest.mark.parametrize(
    "setting", ["segment.min_segment_s=7", "segment.max_gap_s=20", "segment.min_window_score=0.99"]
)
def test_other_settings_of_segments_are_tried_out_and_counted(world, build, setting):
    plan = planned(world, settings=(setting,))
    done = worked(build(None, world / "out", settings=(setting,)))
    assert is_exact(plan)
    assert to_do(plan) == done
    assert done["segment"] == 8


def test_of_many_recordings_some_are_cut_and_stand_for_the_others(world, monkeypatch):
    monkeypatch.setattr("flows.plan.replay.MOST_SEGMENTED", 3)
    plan = planned(world, settings=("segment.max_gap_s=20",))
    stages = {stage.name: stage for stage in plan.stages}
    assert stages["segment"].num_expected == 8
    assert stages["transcribe"].num_expected <= stages["transcribe"].num_at_most
    assert stages["transcribe"].audio_at_most_s > 40
    assert any("recordings were cut by this plan" in line for line in plan.remarks)


def test_another_scorer_reads_every_title_and_what_passes_now_is_counted(world, build):
    plan = planned(world, settings=("screen.scorer=learned",))
    done = worked(build(None, world / "out", settings=("screen.scorer=learned",)))
    assert to_do(plan)["screen"] == done["screen"] == 9
    assert to_do(plan).get("ingest", 0) == done.get("ingest", 0)
    assert to_do(plan).keys() <= done.keys() | {"classify", "segment", "fingerprint", "transcribe", "measure"}


def test_another_threshold_of_the_text_lets_through_what_it_then_lets_through(world, build):
    settings = ("screen.min_relevance_score=1",)
    plan = planned(world, settings=settings)
    done = worked(build(None, world / "out", settings=settings))
    assert (to_do(plan)["screen"], to_do(plan)["ingest"]) == (done["screen"], done["ingest"]) == (9, 1)


def test_a_new_title_is_read_again_and_nothing_else(finished, world, build):
    """A sidecar names the piece: the sound is what it was."""
    shutil.rmtree(world / "out")
    for name in ("a", "b", "c", "d", "e"):
        write_audio(world / "own" / f"{name}.flac", melody(8, ord(name)))
    build(world / "own", world / "out", settings=SETTINGS)
    (world / "own" / "a.info.json").write_text(json.dumps({"title": "Erik Satie - Gymnopédie No. 1"}))
    plan = planned(world, world / "own")
    done = worked(build(world / "own", world / "out", settings=()))
    assert to_do(plan) == done == {"screen": 1, "ingest": 1, "annotate": 1}
    assert is_exact(plan)


def test_other_limits_of_decoding_are_tried_on_every_file_and_taken_to_change_nothing(world, build):
    settings = ("ingest.min_duration_s=2",)
    plan = planned(world, settings=settings)
    assert to_do(plan) == worked(build(None, world / "out", settings=settings)) == {"ingest": 8}
    assert any("decoded again" in line for line in plan.remarks)


def test_a_second_transcriber_measures_everything_again(world):
    plan = planned(world, settings=("measure.second_transcriber=bytedance",))
    assert to_do(plan) == {"measure": 9}
    assert is_exact(plan)


def test_a_new_dataset_is_planned_by_guesses_that_say_so(world):
    for seed in range(3):
        write_audio(world / "more" / f"{seed}.flac", melody(8, 20 + seed))
    plan = make_plan(order_build(world / "more", world / "new", None, SETTINGS, dry_run=True))
    assert not (world / "new").exists()
    stages = {stage.name: stage for stage in plan.stages}
    assert (stages["screen"].num_expected, stages["ingest"].num_expected) == (3, 3)
    assert "a guess for a folder of music" in stages["transcribe"].estimate
    assert plan.seconds_low < plan.seconds < plan.seconds_high


def test_work_that_a_kill_left_undone_is_what_the_plan_names(world, build):
    shutil.rmtree(world / "out" / "tables" / "measure")
    next((world / "out" / "midi").rglob("*.mid")).unlink()
    plan = planned(world)
    assert to_do(plan) == worked(build(None, world / "out", settings=())) == {"transcribe": 1, "measure": 9}


def test_a_plan_is_plain_values(world):
    plan = planned(world, settings=("segment.max_gap_s=20",))
    assert json.loads(json.dumps(dataclasses.asdict(plan)))["stages"][4]["name"] == "segment"


def test_what_a_crawl_found_is_planned_without_asking_anybody(world):
    """Three addresses wait to be fetched; one of them names a violin."""
    titles = ("Chopin - Nocturne, solo piano", "Satie - Gnossienne, solo piano", "Violin sonata, violin and orchestra")
    found = [
        Candidate(f"web-{number}", "web", f"http://127.0.0.1:9/{number}.mp3", f"http://127.0.0.1:9/{number}", title,
                  announced_duration_s=100.0)
        for number, title in enumerate(titles)
    ]  # fmt: skip
    StageTable(world / "out", "collect", Candidate).append(map(observation, found))
    stages = {stage.name: stage for stage in planned(world).stages}
    assert (stages["screen"].num_expected, stages["download"].num_expected) == (3, 2)
    assert (stages["ingest"].num_expected, stages["ingest"].num_at_most) == (2, 2)
    assert stages["ingest"].audio_expected_s == 200.0
    assert 0 < stages["transcribe"].audio_expected_s < stages["transcribe"].audio_at_most_s
    assert stages["transcribe"].audio_at_most_s == pytest.approx(200.0)
