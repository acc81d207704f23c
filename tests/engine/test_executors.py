"""Who does the work of stages: the same results in this process and in another one, and what a death there costs.

The processes are real; the networks are stand-ins, also in the other process.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fakes import melody, noise, use_fakes, write_audio
from places import ROOT, SUPPORT

from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from flows.cli.jobs import run_build
from flows.engine.context import BuildContext, Item, NotDone
from flows.engine.stages import INGEST, TRANSCRIBE
from flows.executors import local
from flows.executors.assignments import Assignment, Setup
from flows.executors.away import Away
from flows.workers.bridge import Bridge
from flows.workers.lanes import Stopped
from flows.workers.processes import Workers, WorkerUnfit

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four pieces, and rain."""
    folder = tmp_path_factory.mktemp("source")
    for seed in range(4):
        write_audio(folder / f"take {seed}.wav", melody(5, seed))
    write_audio(folder / "rain.wav", noise(5))
    return folder


@pytest.fixture
def marks(monkeypatch, tmp_path):
    """Builds transcribe in another process, which dies as the marks in this folder say."""
    folder = tmp_path / "marks"
    folder.mkdir()
    use_fakes(monkeypatch)
    monkeypatch.setattr(local, "PLACED", frozenset({TRANSCRIBE.name}))
    monkeypatch.setattr(local, "WORK_OFF", "fake_worker:work_off")
    monkeypatch.setattr(local, "LOAD", "fake_worker:load")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MARKS", str(folder))
    return folder


def build(source, out):
    return run_build(source, out, settings=SETTINGS, with_prefect=False)


def segment_of(out, source_url):
    return next(row["segment_id"] for row in Manifest(out).rows() if row["source_url"] == source_url)


@pytest.fixture(scope="module")
def here(source, tmp_path_factory):
    """The dataset that is made in one process."""
    out = tmp_path_factory.mktemp("here") / "out"
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        assert build(source, out).num_files == 4
    return out


def pids_in(marks):
    return [int(mark.name.split()[1]) for mark in marks.glob("pid *")]


def test_another_process_gives_the_same_version_and_ends_with_the_build(source, here, marks, tmp_path):
    summary = build(source, tmp_path / "out")
    assert content_sha256(Manifest(tmp_path / "out").rows()) == content_sha256(Manifest(here).rows())
    (pid,) = pids_in(marks)  # one process, which did all of it
    assert pid != os.getpid()
    assert not psutil.pid_exists(pid)
    assert (summary.stages["transcribe"].num_worked_on, summary.failures, summary.not_done) == (4, [], [])


def test_a_worker_that_dies_costs_only_the_item_that_it_had(source, here, marks, tmp_path):
    (marks / segment_of(here, "take 1.wav")).write_text("2")
    summary = build(source, tmp_path / "out")
    assert content_sha256(Manifest(tmp_path / "out").rows()) == content_sha256(Manifest(here).rows())
    assert (summary.stages["transcribe"].num_worked_on, summary.failures, len(pids_in(marks))) == (4, [], 3)


def test_an_item_that_kills_every_worker_fails_alone_and_by_name(source, here, marks, tmp_path):
    (marks / segment_of(here, "take 2.wav")).write_text("99")
    summary = build(source, tmp_path / "out")
    (line,) = summary.failures
    assert "take%202.wav: each of 3 processes that worked on it (transcribe) was killed by it (SIGKILL)" in line
    assert summary.num_files == 3
    assert (marks / segment_of(here, "take 2.wav")).read_text() == "96"


def test_an_item_is_quarantined_only_by_a_build_that_came_to_its_end(source, here, marks, tmp_path):
    deadly, out = marks / segment_of(here, "take 2.wav"), tmp_path / "out"
    source = Path(shutil.copytree(source, tmp_path / "in"))
    deadly.write_text("99")
    assert len(build(source, out).failures) == 1
    (source / "more.wav").write_bytes((source / "take 1.wav").read_bytes() + b"more")  # so that there is work
    assert len(build(source, out).failures) == 1
    assert deadly.read_text() == "96"  # nobody tried it again
    shutil.rmtree(out / "tables" / "rejections")  # a build that was killed has not written it
    shutil.rmtree(out / "index")
    deadly.unlink()
    summary = build(source, out)
    assert (summary.failures, summary.stages["transcribe"].num_worked_on) == ([], 1)


def test_workers_that_never_begin_leave_the_items_for_the_next_build(source, here, marks, tmp_path):
    (marks / "load").write_text("99")
    summary = build(source, tmp_path / "out")
    assert (summary.num_files, summary.failures, len(summary.not_done)) == (0, [], 4)
    assert "3 processes for transcribe ended before they began (SIGKILL). Is there too little memory?" in str(summary)
    (marks / "load").unlink()
    assert build(source, tmp_path / "out").num_files == 4


class _OverBridge(Away):
    """Items whose way to the workers ends again and again."""

    def attempt(self, items):
        bridge = Bridge("is tested")
        yield from bridge.call("deadly:die", signal.SIGKILL)


class _OnUnfit(Away):
    """Items whose workers have a fault of their machine."""

    def attempt(self, items):
        raise WorkerUnfit("a worker: /tmp/x: no space left on the device. Free some and run the same command again.")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (_OverBridge, "the process that hands ingest to workers ended 5 times before any of it was done (SIGKILL)."),
        (_OnUnfit, "3 workers in a row could not do ingest, the last one because: a worker: /tmp/x: no space left"),
    ],
)
def test_who_gives_up_says_what_ended_and_what_to_do(kind, said, marks, tmp_path):
    items = [Item(f"{number}", f"{number}", {}, None) for number in range(2)]
    with pytest.raises(NotDone) as refused:
        list(kind(BuildContext(tmp_path, *_settings()), INGEST, items).outcomes())
    assert refused.value.items.keys() == {"0", "1"}
    for pending in refused.value.items.values():
        assert said in pending.message
        assert pending.message.endswith(("Build again.", "build again."))


def test_a_lane_that_was_left_behind_writes_nothing_and_starts_nothing_after_its_build(marks, tmp_path):
    context, workers = BuildContext(tmp_path / "out", *_settings()), Workers(1)
    context.close()
    workers.close()
    with pytest.raises(Stopped):
        context.writing.write({"midi/00/x.mid": b"x"})
    with pytest.raises(Stopped):
        workers.take()
    with pytest.raises(Stopped):
        list(_OnUnfit(context, INGEST, [Item("0", "0", {}, None)]).outcomes())
    assert not (tmp_path / "out").exists()


def test_what_is_sent_to_a_worker_comes_out_there_as_it_was(here):
    from aria_data.storage.stage_tables import DONE, StageTable

    (outcome, *_) = [one for one in StageTable(here, "ingest", INGEST.record_type).all() if one.status == DONE]
    item = Item("x", "y", {"audio": "z"}, outcome.record)
    setup = Setup("", *_settings())
    assignment = Assignment(setup, "classify", (item,))
    assert pickle.loads(pickle.dumps(assignment)) == assignment


def _settings():
    from aria_data.config import BuildConfig
    from aria_data.transcribe import Compute

    return BuildConfig(), Compute(), 2


def test_a_worker_ends_soon_after_its_build_was_killed(tmp_path):
    script = (
        "import time; from flows.workers.processes import Workers\n"
        "call = Workers(1).call('deadly:count', 10**12).once(); next(call)\n"
        "print('running', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{SUPPORT}:{ROOT}"}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    with parent.stdout as said:
        assert said.readline() == b"running\n"
    (worker,) = psutil.Process(parent.pid).children()
    os.kill(worker.pid, signal.SIGSTOP)  # so that it notices nothing by itself, and cannot be blocked in a pipe
    parent.kill()
    parent.wait()
    os.kill(worker.pid, signal.SIGCONT)
    end = time.monotonic() + 60
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)
