"""`perf.json`: what is kept of the speed of builds, whatever becomes of a build."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from fakes import SHORT_SEGMENTS, melody, use_fakes, write_audio
from places import ROOT, SUPPORT

from flows.engine.context import BuildContext
from flows.speed.perf_file import KEPT_BUILDS, PerfLog, read_builds
from flows.speed.telemetry import Telemetry


def log(root, run_id="1", stages=dict):
    return PerfLog(root, run_id, stages, [], lambda: {"command": "build"}, list)


def busy():
    telemetry = Telemetry()
    telemetry.expect("ingest", 1)
    return telemetry.snapshot


def test_a_build_notes_its_machine_code_settings_and_the_speed_of_every_stage(build, tmp_path):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    (tmp_path / "in" / "broken.mp3").write_bytes(b"this is no audio")
    build(tmp_path / "in", tmp_path / "out")
    (noted,) = read_builds(tmp_path / "out")
    stages = {stage["stage"]: stage for stage in noted["stages"]}
    assert (noted["is_finished"], noted["state"], noted["command"]) == (True, "finished", "build")
    assert noted["machine"]["cores"] >= 1
    assert noted["machine"]["processor"]
    assert noted["code"]["version"]
    assert noted["settings"]["transcriber"] == "transkun"
    assert (stages["ingest"]["num_items"], stages["ingest"]["failed"]) == (2, {"not_audio": 1})
    assert stages["transcribe"]["audio_s"] == pytest.approx(8, abs=2)
    assert stages["transcribe"]["working_s"] > 0
    assert stages["release"]["num_items"] == 2
    assert list(stages["classify"]["workers"]) == ["main"]
    assert {"collect", "screen", "segment", "measure", "annotate", "deduplicate"} <= stages.keys()


def test_lanes_tell_how_long_they_wait(build, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.engine.tasks.MAX_ITEMS_PER_SHARD", 1)
    for seed in range(4):
        write_audio(tmp_path / "in" / f"{seed}.flac", melody(8, seed))
    build(tmp_path / "in", tmp_path / "out")
    (noted,) = read_builds(tmp_path / "out")
    stages = {stage["stage"]: stage for stage in noted["stages"]}
    assert stages["transcribe"]["workers"]["main"]["waiting_for_input_s"] > 0
    assert 0 < stages["transcribe"]["working_share"] < 1
    assert (stages["recordings"]["num_items"], stages["recordings"]["num_expected"]) == (4, 4)


def test_a_build_that_fails_is_noted_as_unfinished_with_what_stopped_it(build, tmp_path, monkeypatch):
    write_audio(tmp_path / "in" / "a.wav", melody(8))

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.build.ending.put_copies", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "in", tmp_path / "out")
    (noted,) = read_builds(tmp_path / "out")
    assert (noted["is_finished"], noted["state"]) == (False, "stopped by KeyboardInterrupt")
    assert {stage["stage"]: stage["num_items"] for stage in noted["stages"]}["ingest"] == 1
    build(tmp_path / "in", tmp_path / "out")
    assert [one["is_finished"] for one in read_builds(tmp_path / "out")] == [False, True]


CHILD = """
import sys, time
from fakes import use_fakes, FakeTranscriber
class Setter:
    @staticmethod
    def setattr(owner, name, value): setattr(owner, name, value)
use_fakes(Setter)
class Slow(FakeTranscriber):
    def infer(self, windows):
        print("transcribing", flush=True)
        time.sleep(600)
from flows.engine.context import BuildContext
BuildContext.transcriber = Slow()
from flows.cli.jobs import run_build
run_build(sys.argv[1], __import__("pathlib").Path(sys.argv[2]), settings=[sys.argv[3]], with_prefect=False)
"""


def test_a_build_that_is_killed_is_in_the_file_as_running_and_the_file_is_whole(tmp_path):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    command = [sys.executable, "-c", CHILD, str(tmp_path / "in"), str(tmp_path / "out"), SHORT_SEGMENTS[0]]
    paths = os.pathsep.join([str(ROOT), str(SUPPORT)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}) as child:
        assert child.stdout.readline() == b"transcribing\n"
        os.kill(child.pid, signal.SIGKILL)
    (noted,) = read_builds(tmp_path / "out")
    assert (noted["is_finished"], noted["state"]) == (False, "running")


def test_the_last_builds_are_kept_and_of_those_without_work_only_the_last(tmp_path):
    for number in range(KEPT_BUILDS + 5):
        log(tmp_path, f"busy {number}", busy()).write("finished")
        log(tmp_path, f"idle {number}").write("finished")
    kept = [one["run_id"] for one in read_builds(tmp_path)]
    assert len(kept) == KEPT_BUILDS
    assert kept[-1] == f"idle {KEPT_BUILDS + 4}"
    assert kept[0] == "busy 6"
    assert sum(name.startswith("idle") for name in kept) == 1


def test_writing_again_replaces_the_entry_of_the_same_run(tmp_path):
    one = log(tmp_path, "1", busy())
    one.write("running")
    one.write("finished")
    assert [build["state"] for build in read_builds(tmp_path)] == ["finished"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 2, "builds": []}', b'{"format": 1, "builds": [3]}', b"\xff\xfe", b"null",
     b'{"format": 1, "builds": [{"stages": 1, "machine": {}}]}'],
)  # fmt: skip
def test_a_damaged_file_is_no_obstacle_and_is_replaced(tmp_path, content):
    (tmp_path / "perf.json").write_bytes(content)
    assert read_builds(tmp_path) == []
    log(tmp_path).write("finished")
    assert len(read_builds(tmp_path)) == 1


def test_a_full_disk_costs_the_note_and_not_the_build(small_disk):
    (small_disk / "full").write_bytes(b"x" * (3 << 20))
    with open(small_disk / "full", "ab") as file:
        try:
            file.write(b"x" * (2 << 20))
            file.flush()
        except OSError:
            pass
    log(small_disk).write("finished")
    assert not (small_disk / "perf.json.partial").exists()


def test_what_language_models_cost_is_noted_by_model_and_task(tmp_path):
    from aria_data.llm.ledger import Ledger, Limits
    from aria_data.llm.prices import Usage
    from flows.build.watching import money_of

    context = BuildContext(tmp_path, None)
    assert money_of(context) == []
    ledger = Ledger(tmp_path / "llm" / "ledger.sqlite")
    for run_id in (context.run_id, "another"):
        request = ledger.reserve(run_id, "screen", "some-model", 3, 5_000_000_000, Limits())
        ledger.settle(request, Usage(100, 20), 2_500_000_000)
    context.__dict__["llm"] = type("Model", (), {"ledger": ledger, "close": ledger.close})()
    (spent,) = money_of(context)
    assert (spent["requests"], spent["prompt_tokens"], spent["dollars"]) == (1, 100, 0.0025)
    json.dumps(spent)
    ledger.close()


def test_use_fakes_is_what_the_child_uses(monkeypatch):
    use_fakes(monkeypatch)
    assert BuildContext.transcriber.name == "fake"
