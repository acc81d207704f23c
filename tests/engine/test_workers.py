"""Worker processes: what they are asked, what they send, and what happens when one dies. The processes are real."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from fakes import melody, use_fakes, write_audio
from places import SUPPORT

from aria_data.errors import PermanentError, TemporaryError
from aria_data.manifest import Manifest
from flows.cli.jobs import run_build
from flows.workers import decoding, processes
from flows.workers.processes import Workers

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")


@pytest.fixture
def pool(monkeypatch):
    """Two workers that know the functions of `deadly`, in place of those that builds share."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    pool = Workers(2)
    monkeypatch.setattr(processes, "_of_process", {os.getpid(): pool})
    yield pool
    pool.close()


def test_a_worker_sends_what_it_is_asked_for_and_is_asked_again(pool):
    calls = [pool.call("deadly:count", 3) for _ in range(2)]
    assert [list(call) for call in calls] == [[0, 1, 2], [0, 1, 2]]
    assert calls[0].result == calls[1].result  # the same process
    assert calls[0].result[0] != os.getpid()
    assert not calls[0].result[1]  # nothing heavy was loaded in it


def test_what_a_call_raises_is_raised_here_and_the_worker_lives_on(pool):
    first = pool.call("deadly:count", 1)
    assert list(first) == [0]
    with pytest.raises(ValueError, match="no such thing"):
        list(pool.call("deadly:fail"))
    second = pool.call("deadly:count", 1)
    assert list(second) == [0]
    assert first.result == second.result


def test_a_worker_finds_stores_where_this_process_finds_them_now(pool, monkeypatch):
    found = []
    for address in ("http://one", "http://another"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        found += list(pool.call("deadly:setting", "AWS_ENDPOINT_URL"))
    assert found == ["http://one", "http://another"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_costs_nothing_but_its_call_made_again(how, pool, tmp_path):
    call = pool.call("deadly:die_once", str(tmp_path / "marks"), 6, int(how))
    assert list(call) == [0, 1, 2, 3, 4, 5]  # each once
    assert call.result


def test_a_call_that_kills_every_worker_fails_alone_after_three(pool):
    with pytest.raises(PermanentError, match=r"each of 3 processes .* \(SIGSEGV, SIGSEGV, SIGSEGV\)") as failed:
        list(pool.call("deadly:die", int(signal.SIGSEGV)))
    assert failed.value.reason == "kills_its_worker"
    assert list(pool.call("deadly:count", 1)) == [0]


def test_a_worker_that_was_killed_while_it_waited_is_replaced_and_no_try_is_counted(pool):
    call = pool.call("deadly:count", 1)
    assert list(call) == [0]
    os.kill(call.result[0], signal.SIGKILL)
    again = pool.call("deadly:count", 1)
    assert list(again) == [0]
    assert again.result != call.result


def test_a_worker_that_cannot_start_is_no_calls_fault(pool, monkeypatch):
    monkeypatch.setattr(processes, "PYTHON", "/bin/false")
    with pytest.raises(TemporaryError, match=r"a process that decodes did not start \(exit code 1\)"):
        list(pool.call("deadly:count", 1))


def test_a_call_that_nobody_listens_to_any_more_frees_its_place(pool):
    for _ in range(3):
        sent = iter(pool.call("deadly:count", 10_000_000))
        assert next(sent) == 0
        sent.close()
    assert list(pool.call("deadly:count", 1)) == [0]


def test_workers_end_with_the_process_that_asks_them(pool):
    call = pool.call("deadly:count", 1)
    list(call)
    pool.close()
    assert not psutil.pid_exists(call.result[0])


def test_a_file_that_kills_its_decoders_fails_alone_and_is_named_once(pool, tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    monkeypatch.setattr(decoding, "DECODE", "deadly:decode_or_die")
    write_audio(tmp_path / "in" / "poison.wav", melody(5, 1))
    write_audio(tmp_path / "in" / "sound.wav", melody(5, 2))
    summary = run_build(tmp_path / "in", tmp_path / "out", settings=SETTINGS, with_prefect=False)
    assert [row["source_url"] for row in Manifest(tmp_path / "out").rows()] == ["sound.wav"]
    (line,) = summary.failures
    assert line.startswith("poison.wav: kills_its_worker (poison.wav: each of 3 processes that worked on it")
    assert line.endswith("or remove it; a file that changed is tried again.)")
    again = run_build(tmp_path / "in", tmp_path / "out", settings=SETTINGS, with_prefect=False)
    assert again.failures == summary.failures
    assert not any(stage.num_worked_on for stage in again.stages.values())
    monkeypatch.setattr(decoding, "DECODE", "aria_data.audio.whole:decode_whole")
    status = (tmp_path / "in" / "poison.wav").stat()
    os.utime(tmp_path / "in" / "poison.wav", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    mended = run_build(tmp_path / "in", tmp_path / "out", settings=SETTINGS, with_prefect=False)
    assert (mended.failures, mended.num_files) == ([], 2)


def test_a_build_whose_workers_are_killed_again_and_again_loses_nothing(pool, tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    for number in range(3):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(5, number))
    num_taken, killed = 0, []
    take = Workers.take

    def deadly(self):
        nonlocal num_taken
        worker = take(self)
        num_taken += 1
        if num_taken in (1, 2, 4):
            killed.append(worker.process.pid)
            worker.process.kill()
        return worker

    monkeypatch.setattr(Workers, "take", deadly)
    summary = run_build(tmp_path / "in", tmp_path / "out", settings=SETTINGS, with_prefect=False)
    assert (summary.num_files, summary.failures, summary.not_done, len(killed)) == (3, [], [], 3)
