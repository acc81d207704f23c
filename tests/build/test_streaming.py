"""A build is a stream of shards: whatever their size and order, the result is the same. Networks are stand-ins."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from fakes import FakeTranscriber, melody, noise, use_fakes, write_audio

from aria_data.errors import DatasetError
from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from aria_data.records import Rejection
from aria_data.storage.stage_tables import RecordTable
from flows.candidates import latest
from flows.cli.jobs import run_build
from flows.engine import shards, tasks
from flows.workers.lanes import Lanes

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=2", "screen.scorer=rules", "screen.min_relevance_score=3")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Nine files: pieces, copies in other places, noise, silence, rubbish, a violin by name, two pieces in one."""
    folder = tmp_path_factory.mktemp("source")
    for seed in range(2):
        write_audio(folder / f"take {seed}.wav", melody(5, seed))
    (folder / "z").mkdir()
    shutil.copy(folder / "take 0.wav", folder / "z" / "again.wav")
    shutil.copy(folder / "take 0.wav", folder / "a copy.wav")
    write_audio(folder / "rain.wav", noise(5))
    write_audio(folder / "silence.wav", np.zeros((80_000, 1), np.float32))
    write_audio(folder / "violin sonata.wav", melody(5, 9))
    write_audio(folder / "two.wav", np.concatenate([melody(5, 5), noise(10), melody(5, 6)]))
    (folder / "broken.mp3").write_bytes(b"this is no audio")
    return folder


def build(source, out, *settings):
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        return run_build(source, out, None, [*SETTINGS, *settings], with_prefect=False)


def result_of(out):
    rows = Manifest(out).rows()
    return content_sha256(rows), RecordTable(out, "rejections", Rejection).read()


@pytest.fixture(scope="module")
def at_once(source, tmp_path_factory):
    """The dataset when all candidates are one shard."""
    out = tmp_path_factory.mktemp("at once") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "FIRST", 0)
        summary = build(source, out)
    assert (summary.num_files, summary.candidates.num_in) == (4, 9)
    return out


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shards_of_any_size_give_the_same_manifest_and_rejections(size, source, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_ITEMS_PER_SHARD", size)
    monkeypatch.setattr(shards, "BLOCK", 5)
    summary = build(source, tmp_path)
    assert result_of(tmp_path) == result_of(at_once)
    (tmp_path / "index" / "last_build.json").unlink(missing_ok=True)
    again = build(source, tmp_path)
    assert not again.is_new_version
    assert sum(stage.num_worked_on for stage in again.stages.values()) == 0
    assert sum(stage.num_worked_on for stage in summary.stages.values()) > 0


@pytest.mark.parametrize("seed", range(3))
def test_candidates_in_any_order_give_the_same_manifest_and_rejections(seed, source, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(latest, "IN_ORDER", f"md5(candidate_id || '{seed}')")
    monkeypatch.setattr(tasks, "MAX_ITEMS_PER_SHARD", 2)
    build(source, tmp_path)
    assert result_of(tmp_path) == result_of(at_once)


def test_of_identical_files_one_that_is_there_is_kept_though_another_was_seen_first(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_ITEMS_PER_SHARD", 1)
    write_audio(tmp_path / "in" / "a.wav", melody(5))
    shutil.copy(tmp_path / "in" / "a.wav", tmp_path / "in" / "b.wav")
    build(tmp_path / "in", tmp_path / "out")
    assert [row["source_url"] for row in Manifest(tmp_path / "out").rows()] == ["a.wav"]
    (tmp_path / "in" / "a.wav").unlink()
    summary = build(tmp_path / "in", tmp_path / "out")
    (row,) = [row for row in Manifest(tmp_path / "out").rows() if row["removed_in"] is None]
    assert row["source_url"] == "b.wav"
    assert summary.stages["transcribe"].num_worked_on == 0
    (rejection,) = RecordTable(tmp_path / "out", "rejections", Rejection).read()
    assert (rejection.source_url, rejection.detail) == ("a.wav", "the same file as b.wav")


def test_while_one_shard_is_transcribed_the_next_is_ingested(source, tmp_path, monkeypatch):
    """A transcription waits for a file of a later shard to be classified: one after the other, it would for ever."""
    monkeypatch.setattr(tasks, "MAX_ITEMS_PER_SHARD", 1)
    later, waited = threading.Event(), []
    decoder, num_classified = FakeTranscriber.decoder, 0

    def patient(self):
        waited.append(later.wait(60))
        return decoder(self)

    monkeypatch.setattr(FakeTranscriber, "decoder", patient)
    from fakes import FakeClassifier

    score = FakeClassifier.score_blocks

    def counting(self, blocks):
        nonlocal num_classified
        num_classified += 1
        if num_classified == 2:
            later.set()
        return score(self, blocks)

    monkeypatch.setattr(FakeClassifier, "score_blocks", counting)
    build(source, tmp_path)
    assert waited
    assert all(waited)


def test_a_fault_in_one_lane_stops_the_others_and_is_the_builds(source, tmp_path, monkeypatch):
    def full(self, outcomes):
        raise DatasetError("no space left")

    monkeypatch.setattr("flows.build.numbering.Numbers.record", full)
    with pytest.raises(DatasetError, match="no space left"):
        build(source, tmp_path)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("lane ")] == []


def test_lanes_keep_the_order_and_hold_only_a_few_at_a_time():
    taken: list[int] = []
    lanes: Lanes[int] = Lanes([lambda item: None, lambda item: None], ["one", "two"], ahead=2)

    def endless():
        for number in range(1000):
            taken.append(number)
            yield number

    run = lanes.run(endless())
    assert [next(run) for _ in range(3)] == [0, 1, 2]
    run.close()
    assert len(taken) <= 3 + 4 * 3  # in three queues, and one in each hand


def test_finished_keys_name_every_item_that_was_not_rejected(source, tmp_path):
    from flows.build.assemble import Build
    from flows.engine.stages import INGEST, TRANSCRIBE

    seen = {}
    prune = Build.prune

    def noted(self):
        prune(self)
        seen.update({name: self.relations.table(f"FROM keys_of_{name}") for name in (INGEST.name, TRANSCRIBE.name)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Build, "prune", noted)
        build(source, tmp_path)
    assert seen[INGEST.name].column_names == ["item_id", "candidate_id", "key"]
    assert sorted(seen[TRANSCRIBE.name]["item_id"].to_pylist()) == sorted(
        row["segment_id"] for row in Manifest(tmp_path).rows()
    )
    assert seen[INGEST.name].num_rows == 6  # the copies are whole, too; the silence and the rubbish are rejected
