"""The main recipe: what a second build does, what a kill costs, and that everything is accounted for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from fakes import FakeDecoder, FakeTranscriber, melody, noise, use_fakes, write_audio
from places import ROOT, SUPPORT

from aria_data.errors import NetworkError
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import content_sha256
from aria_data.records import Rejection
from aria_data.storage import sha256_file
from aria_data.storage.stage_tables import DONE, RecordTable, StageTable
from flows.build.unchanged import STAGES
from flows.cli.jobs import run_build
from flows.engine.context import BuildContext
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=4", "segment.lead_s=0", "segment.tail_s=0", "ingest.min_duration_s=1",
            "screen.scorer=rules", "screen.min_relevance_score=3")  # fmt: skip
CHILD = SUPPORT / "build_child.py"
HANGS_S = 1500  # a guard against hanging; a build with a server takes about 15 s


def make_recordings(folder: Path) -> Path:
    """One of each: piano-like, a copy, another container, noise, a violin by name, a broken file."""
    for seed in range(4):
        write_audio(folder / f"take {seed}.wav", melody(8, seed))
    shutil.copy(folder / "take 0.wav", folder / "take 0 again.wav")
    samples, rate = soundfile.read(folder / "take 1.wav", dtype="int16")
    write_audio(folder / "take 1.flac", samples, rate)
    write_audio(folder / "rain.wav", noise(8))
    write_audio(folder / "violin sonata.wav", melody(8, 9))
    write_audio(folder / "half piano.wav", np.concatenate([noise(5), melody(6, 5), noise(12), melody(6, 6)]))
    (folder / "broken.mp3").write_bytes(b"this is no audio")
    (folder / "cover.jpg").write_bytes(b"a picture")
    return folder


@pytest.fixture
def source(tmp_path):
    return make_recordings(tmp_path / "recordings")


@pytest.fixture(scope="module")
def same_source(tmp_path_factory):
    """Recordings for the tests that only read them."""
    return make_recordings(tmp_path_factory.mktemp("shared") / "recordings")


@pytest.fixture(scope="module")
def undisturbed(builder, same_source, tmp_path_factory):
    """A dataset that was built from them in one go."""
    dataset = tmp_path_factory.mktemp("undisturbed") / "dataset"
    builder.finish(same_source, dataset)
    return dataset


@pytest.fixture
def build(monkeypatch, source, tmp_path):
    use_fakes(monkeypatch)

    def run(*settings):
        return run_build(source, tmp_path / "dataset", None, [*SETTINGS, *settings], with_prefect=False)

    return run


def worked_on(summary):
    return {name: stage.num_worked_on for name, stage in summary.stages.items() if stage.num_worked_on}


def test_a_build_accounts_for_every_candidate_and_every_segment(build, tmp_path):
    summary = build()
    candidates, segments = summary.candidates, summary.segments
    assert dataclasses.asdict(candidates) == {
        "num_in": 10, "num_in_manifest": 6, "num_rejected": 3, "num_failed": 1, "num_not_done": 0,
    }  # fmt: skip
    assert candidates.num_in == sum(dataclasses.astuple(candidates)[1:])
    assert (segments.num_in, segments.num_in_manifest) == (7, 7)
    assert summary.left_aside == {".jpg": 1}
    rejections = RecordTable(tmp_path / "dataset", "rejections", Rejection).read()
    assert {(one.source_url, one.stage, one.reason) for one in rejections} == {
        ("broken.mp3", "ingest", "not_audio"),
        ("rain.wav", "segment", "no_solo_piano"),
        ("take 0.wav", "deduplicate", "same_bytes"),
        ("violin sonata.wav", "screen", "relevance_score_below_min"),
    }
    assert next(one for one in rejections if one.reason == "no_solo_piano").measured == pytest.approx(0.1)


def test_the_same_audio_in_another_container_is_flagged_and_kept(build, tmp_path):
    build()
    rows = {row["source_url"]: row for row in Manifest(tmp_path / "dataset").rows()}
    flac, wav = rows["take 1.flac"], rows["take 1.wav"]
    assert flac["audio_cluster"] == wav["audio_cluster"] != rows["take 2.wav"]["audio_cluster"]
    assert [flac["is_cluster_lead"], wav["is_cluster_lead"]] == [True, False]
    assert flac["split"] == wav["split"]
    assert flac["notes_cluster"] == wav["notes_cluster"]


def test_every_midi_file_is_where_the_manifest_says_and_holds_what_it_says(build, tmp_path):
    build()
    for row in Manifest(tmp_path / "dataset").rows():
        assert sha256_file(tmp_path / "dataset" / row["midi_path"]) == row["midi_sha256"]
    assert not list((tmp_path / "dataset").rglob("*.partial"))


def test_a_second_build_computes_nothing_and_makes_no_version(build, monkeypatch):
    first = build()
    monkeypatch.setattr(BuildContext, "transcriber", None)  # any use of it would fail
    monkeypatch.setattr(BuildContext, "classifier", None)
    second = build()
    assert worked_on(second) == {}
    assert (first.version, first.is_new_version, second.version, second.is_new_version) == (1, True, 1, False)


def test_a_midi_file_deleted_by_hand_is_made_again(build, tmp_path):
    build()
    lost = next((tmp_path / "dataset").rglob("*.mid"))
    content = lost.read_bytes()
    lost.unlink()
    summary = build()
    assert (worked_on(summary), summary.is_new_version) == ({"transcribe": 1}, False)
    assert lost.read_bytes() == content


def test_what_was_removed_stays_out_even_when_the_stage_tables_are_lost(build, tmp_path):
    build()
    dataset = tmp_path / "dataset"
    row = Manifest(dataset).rows()[0]
    remove_items(dataset, [row["segment_id"]], "takedown")
    shutil.rmtree(dataset / "tables")
    assert not build().is_new_version
    (same,) = [one for one in Manifest(dataset).rows() if one["segment_id"] == row["segment_id"]]
    assert (same["removed_in"], same["removal_reason"], same["title"]) == (2, "takedown", None)


def test_a_file_without_an_ending_counts_when_it_is_audio(build, source):
    write_audio(source / "tape.wav", melody(8, 55)).rename(source / "tape")
    (source / "README").write_text("about these recordings")
    summary = build()
    assert (summary.candidates.num_in, summary.left_aside["without an ending"]) == (11, 1)


def test_a_new_file_adds_only_itself(build, source, tmp_path):
    build()
    write_audio(source / "another take.wav", melody(8, 77))
    summary = build()
    assert set(worked_on(summary).values()) == {1}
    difference = Manifest(tmp_path / "dataset").diff(1, 2)
    assert (len(difference.added), difference.removed, difference.changed) == (1, [], {})


def test_a_changed_file_replaces_what_it_was(build, source, tmp_path):
    build()
    write_audio(source / "take 3.wav", melody(9, 78))
    build()
    difference = Manifest(tmp_path / "dataset").diff(1, 2)
    assert (len(difference.added), len(difference.removed)) == (1, 1)


def test_a_file_that_is_gone_stays_in_the_dataset(build, source):
    build()
    (source / "take 3.wav").unlink()
    assert not build().is_new_version


def test_a_changed_setting_redoes_its_stage_and_only_what_really_changes_after_it(build):
    build()
    summary = build("segment.max_gap_s=2.5")
    assert worked_on(summary) == {"segment": 7}  # other rules, the same segments: nothing to transcribe
    summary = build("segment.min_segment_s=7")
    assert worked_on(summary) == {"segment": 7}
    assert summary.rejections["segment: segment_shorter_than_min"] == 1


def test_a_setting_taken_back_finds_its_old_work_again(build):
    first = build()
    build("segment.min_segment_s=7")
    third = build()
    assert worked_on(third) == {}
    assert (third.version, third.num_files) == (3, first.num_files)


def test_a_temporary_error_leaves_its_item_not_done_and_the_next_build_finishes_it(build, monkeypatch):
    class Flaky(FakeTranscriber):
        calls = 0

        def decoder(self):
            Flaky.calls += 1
            if Flaky.calls == 2:
                raise NetworkError("the model server did not answer")
            return super().decoder()

    monkeypatch.setattr(BuildContext, "transcriber", Flaky())
    first = build()
    assert (first.segments.num_not_done, len(first.not_done), first.segments.num_in_manifest) == (1, 1, 6)
    second = build()
    assert (second.segments.num_not_done, second.segments.num_in_manifest) == (0, 7)
    assert worked_on(second)["transcribe"] == 1


def test_a_bug_costs_one_item_and_is_not_recorded_as_done(build, monkeypatch):
    class BrokenDecoder(FakeDecoder):
        def finish(self):
            if self.decoded_s == 8:
                raise ZeroDivisionError("oops")
            return super().finish()

    class Broken(FakeTranscriber):
        def decoder(self):
            return BrokenDecoder()

    monkeypatch.setattr(BuildContext, "transcriber", Broken())
    summary = build()
    assert summary.candidates.num_not_done == 5
    assert "unexpected ZeroDivisionError" in summary.not_done[0]


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(source, monkeypatch, tmp_path):
    use_fakes(monkeypatch)
    summary = run_build(source, tmp_path / "dataset", None, SETTINGS, dry_run=True)
    assert (summary.version, worked_on(summary)) == (0, {"collect": 10, "screen": 10})
    assert not (tmp_path / "dataset").exists()


def test_two_builds_of_the_same_files_have_the_same_content(build, source, monkeypatch, tmp_path):
    build()
    run_build(source, tmp_path / "other", None, SETTINGS, with_prefect=False)
    assert content_of(tmp_path / "dataset") == content_of(tmp_path / "other")


def content_of(dataset: Path) -> str:
    rows = Manifest(dataset).rows()
    assert rows
    for row in rows:
        assert (dataset / row["midi_path"]).exists()
    return content_sha256(rows)


class Builder:
    """Real processes that build, one after another; see `build_child.py`."""

    def __init__(self):
        self._parent = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def start(self, source: Path, out: Path, *options: str) -> int:
        """Start a build; gives its process's id when it has everything it needs and is about to begin."""
        self._parent.stdin.write(json.dumps([str(source), str(out), *options]) + "\n")
        self._parent.stdin.flush()
        started, process = self._parent.stdout.readline().split()
        assert started == "started"
        return int(process)

    def end(self) -> tuple[int, list[str]]:
        """Wait for it; gives how it ended and what it said."""
        said: list[str] = []
        for line in self._parent.stdout:
            if line.startswith("ended "):
                return int(line.split()[1]), said
            said += [line] if line.strip() else []
        raise AssertionError("the process that starts builds has ended")

    def finish(self, source: Path, out: Path, *options: str) -> dict:
        self.start(source, out, *options)
        ended, said = self.end()
        assert ended == 0
        return json.loads(said[-1])

    def close(self) -> None:
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait()


@pytest.fixture(scope="module")
def builder():
    builder = Builder()
    yield builder
    builder.close()


SLOW = pytest.mark.slow  # the others are of the same kind


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=SLOW)])
def test_a_build_killed_at_random_moments_ends_with_the_same_manifest(
    num_kills, builder, same_source, undisturbed, tmp_path
):
    source, killed = same_source, tmp_path / "killed"
    began = time.monotonic()
    builder.finish(source, tmp_path / "timed", "slow")
    length_s = time.monotonic() - began  # only says where the moments are drawn from
    moments = random.Random(7)
    kills = 0
    while kills < num_kills:
        process = builder.start(source, killed, "slow")
        time.sleep(moments.uniform(0, length_s * 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        if builder.end()[0] == 0:  # it got to its end before the kill: start over, so that there is work to kill
            shutil.rmtree(killed)
        else:
            kills += 1
    summary = builder.finish(source, killed, "slow")
    assert content_of(killed) == content_of(undisturbed)
    assert rejections_of(killed) == rejections_of(undisturbed)
    assert summary["candidates"]["num_not_done"] == 0
    assert not list(killed.rglob("*.partial"))
    assert {path.name for path in killed.rglob("*.mid")} == {path.name for path in undisturbed.rglob("*.mid")}


@pytest.mark.slow
@pytest.mark.timeout(HANGS_S * 4)
def test_a_hundred_kills_of_workers_and_builds_lose_nothing_and_repeat_nothing(
    builder, same_source, undisturbed, tmp_path
):
    """A kill meets the build, or one of its workers, which the build goes on without."""
    source, killed = same_source, tmp_path / "killed"
    chance, num_kills = random.Random(11), 0
    while num_kills < 100:
        process = builder.start(source, killed, "slow", "away")
        while True:
            time.sleep(chance.uniform(0.02, 1.2))
            workers = workers_of(process)
            victim = chance.choice(workers) if workers and chance.random() < 0.6 else process
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                num_kills += 1
            if victim == process:
                break
        if builder.end()[0] == 0:  # it got to its end before the kill: start over, so that there is work to kill
            shutil.rmtree(killed)
            num_kills -= 1
    summary = builder.finish(source, killed, "slow", "away")
    assert content_of(killed) == content_of(undisturbed)
    assert rejections_of(killed) == rejections_of(undisturbed)
    assert summary["candidates"]["num_not_done"] == 0
    for stage in STAGES:
        outcomes = StageTable(killed, stage.name, stage.record_type).all()
        keys = [one.key for one in outcomes if one.status == DONE]
        assert len(keys) == len(set(keys)), stage.name


def workers_of(process: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(process).children() if "worker.py" in " ".join(child.cmdline())]
    return []


def rejections_of(dataset: Path) -> list[Rejection]:
    return RecordTable(dataset, "rejections", Rejection).read()


@pytest.mark.parametrize(
    "place", ["commit", "write_whole", pytest.param("append", marks=SLOW), pytest.param("replace", marks=SLOW)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_exactly_before_or_after_a_write_changes_nothing(
    when, place, builder, same_source, undisturbed, tmp_path
):
    """The moments a random kill seldom meets: around each kind of write, by a child that kills itself there."""
    dataset = tmp_path / "dataset"
    builder.start(same_source, dataset, place, when)
    assert builder.end()[0] == -signal.SIGKILL
    builder.finish(same_source, dataset)
    assert content_of(dataset) == content_of(undisturbed)
    assert rejections_of(dataset) == rejections_of(undisturbed)


@pytest.fixture(scope="module")
def flow_run(same_source, prefect_home, tmp_path_factory):
    """A build with a real flow run and a home of its own: the folder of both, and what the build said."""
    folder = tmp_path_factory.mktemp("flow_run")
    (folder / "home").mkdir()
    shutil.copytree(prefect_home, folder / "dataset" / ".prefect")
    environment = {**os.environ, "HOME": str(folder / "home")}
    environment.pop("PREFECT_API_URL", None)
    child = start_alone(same_source, folder / "dataset", "prefect", env=environment)
    output, errors = child.communicate(timeout=HANGS_S)
    assert child.returncode == 0, errors
    return folder, json.loads(output.splitlines()[-1])


def start_alone(source: Path, out: Path, *options: str, **settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(source), str(out), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **settings,
    )  # fmt: skip


@pytest.mark.timeout(HANGS_S)
def test_a_real_flow_run_leaves_no_process_and_nothing_outside_the_dataset(flow_run):
    folder, summary = flow_run
    assert summary["num_files"] == 7
    assert servers_of(folder / "dataset") == []
    home = folder / "home"
    assert [path for path in home.rglob("*") if path.is_file() and "prefect" in str(path).lower()] == []


@pytest.mark.timeout(HANGS_S)
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=SLOW)])
def test_a_build_that_is_stopped_takes_its_prefect_server_with_it(how, builder, prefect_home, same_source, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(prefect_home, dataset / ".prefect")
    child = start_alone(same_source, dataset, "prefect", "slow")
    transcribed = dataset / "tables" / "transcribe"
    wait_for(lambda: transcribed.exists() or child.poll() is not None)
    assert servers_of(dataset)
    child.send_signal(how)
    child.communicate(timeout=HANGS_S)
    assert child.returncode != 0
    wait_for(lambda: servers_of(dataset) == [])
    assert builder.finish(same_source, dataset)["num_files"] == 7


def wait_for(condition):
    """Wait until it holds; the test's own time limit ends a wait without end."""
    while not condition():
        time.sleep(0.05)


def servers_of(dataset: Path) -> list[int]:
    """Process ids of the Prefect APIs whose home is in this dataset."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("PREFECT_HOME", "").startswith(str(dataset))
                and "flows.engine.prefect_api" in process.cmdline()
            ):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
