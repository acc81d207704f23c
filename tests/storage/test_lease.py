"""The lock of a dataset in an object store: one holder, found out when it died, and an old holder that stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from places import ROOT

from aria_data.errors import DatasetLocked
from aria_data.storage import exclusive_lock, open_root, write_whole
from aria_data.stores.lease import Lease, LeaseLost
from aria_data.stores.store_errors import StoreDenied

HANGS_S = 120  # a guard
HOLD = """
import sys
from aria_data.storage import exclusive_lock, open_root, write_whole
root = open_root(sys.argv[1])
with exclusive_lock(root / ".lock"):
    print("held", flush=True)
    for line in sys.stdin:
        write_whole(root / line.strip(), b"by the child")
        print("written", flush=True)
"""


@pytest.fixture
def root(bucket, monkeypatch):
    """A dataset whose lock is free a second after its holder was last heard of, or two."""
    monkeypatch.setenv("ARIA_DATA_LEASE_S", "1")
    return open_root(bucket)


@contextmanager
def another_machine(root):
    """A process that holds the lock, and writes an object of each name that it is told."""
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        try:
            assert child.stdout.readline() == "held\n", child.stderr.read()
            yield child
        finally:
            child.kill()


def refused(root) -> str:
    with pytest.raises(DatasetLocked) as raised, exclusive_lock(root / ".lock"):
        pass
    return str(raised.value)


def taken_when_free(root):
    """Take the lock as soon as it is free; give the refusals until then."""
    refusals, ends = [], time.monotonic() + HANGS_S
    while time.monotonic() < ends:
        try:
            with exclusive_lock(root / ".lock"):
                return refusals
        except DatasetLocked as error:
            refusals.append(str(error))
            time.sleep(0.2)
    raise AssertionError(refusals[-1])


def test_a_second_command_is_told_who_works_there(root):
    with another_machine(root) as child:
        for _ in range(3):  # also when the lease would have ended, had it not been renewed
            said = refused(root)
            assert f"is working in this dataset. Wait for it to end. It is process {child.pid} on " in said
            assert "its lock is free in" in said
            time.sleep(1)
        child.stdin.close()
        assert child.wait(HANGS_S) == 0, child.stderr.read()
    assert taken_when_free(root) == []  # at once: it was let go of


def test_a_lock_is_held_once_in_a_process(root):
    with exclusive_lock(root / ".lock"):
        assert "this process is working" in refused(root)


def test_the_lock_of_a_holder_that_was_killed_is_taken_over(root):
    with another_machine(root) as child:
        child.kill()
        child.wait()
        refusals = taken_when_free(root)
    assert all("If it was killed, its lock is free in" in line for line in refusals)


def test_clocks_of_machines_may_differ_by_years(root, monkeypatch):
    with another_machine(root):
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert refused(root)


def test_a_holder_that_was_stopped_notices_that_another_took_over_and_writes_nothing(root):
    with another_machine(root) as child:
        child.stdin.write("before\n")
        child.stdin.flush()
        assert child.stdout.readline() == "written\n"
        os.kill(child.pid, signal.SIGSTOP)
        assert taken_when_free(root)
        with exclusive_lock(root / ".lock"):
            child.stdin.write("after\n")
            child.stdin.flush()
            os.kill(child.pid, signal.SIGCONT)
            said = child.stderr.read()
            assert child.wait(HANGS_S) == 1
            write_whole(root / "mine", b"by another")
    assert "LeaseLost" in said
    assert "another one works in this dataset now. It is process" in said
    assert (root / "before").is_file()
    assert not (root / "after").exists()


def test_a_holder_that_was_stopped_goes_on_when_nobody_took_over(root):
    with another_machine(root) as child:
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(child.pid, signal.SIGCONT)
        child.stdin.write("after\n")
        child.stdin.flush()
        assert child.stdout.readline() == "written\n", child.stderr.read()
        assert refused(root)


def test_of_many_who_want_the_lock_one_has_it_at_a_time(root, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LEASE_S", "60")
    holder = {"host": "here", "user": "me", "since": "now"}
    inside, most, num_held, counting = [0], [0], [0], threading.Lock()

    def work(number):
        for _ in range(12):
            lease = Lease(root / ".lock", {**holder, "pid": number})
            try:
                lease.take()
            except DatasetLocked:
                continue
            with counting:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                num_held[0] += 1
            time.sleep(0.01)
            with counting:
                inside[0] -= 1
            lease.free()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most[0] == 1
    assert num_held[0] > 1


def test_a_lease_that_was_lost_stays_lost_though_the_other_is_done(root):
    holder = {"pid": 1, "host": "here", "user": "me", "since": "now"}
    old, new = Lease(root / ".lock", holder), Lease(root / ".lock", {**holder, "pid": 2})
    old.take()
    time.sleep(3.2)
    new.take()
    new.free()
    with pytest.raises(LeaseLost):
        old.require()
    with pytest.raises(LeaseLost):
        old.require()
    old.free()
    assert json.loads(max((root / ".lock").glob("*.json")).read_bytes())["pid"] == 2


def test_an_abandoned_folder_of_locks_stays_small(root):
    for _ in range(5):
        with exclusive_lock(root / ".lock"):
            pass
    assert len(list((root / ".lock").glob("*"))) == 1


def test_who_saw_a_lock_free_long_ago_does_not_take_it_from_its_holder(root):
    """Between its look and its put, two others held the lock, and deleted what it would have met."""
    holder = {"pid": 1, "host": "here", "user": "me", "since": "now"}
    late = Lease(root / ".lock", holder)
    for number in range(2):
        one = Lease(root / ".lock", {**holder, "pid": 2 + number})
        one.take()
        if number == 0:
            one.free()
    assert not late._take_number(1)
    assert [path.name for path in (root / ".lock").glob("*.json")] == ["00000002.json"]


def test_a_refusal_that_passes_does_not_end_the_renewals(root, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LEASE_S", "2")
    refusals, renew = [StoreDenied("no"), StoreDenied("no"), ValueError("odd")], Lease.renew
    renewed = threading.Event()

    def refused_at_first(lease):
        if threading.current_thread().name == "lease":
            if refusals:
                raise refusals.pop()
            renewed.set()
        renew(lease)

    monkeypatch.setattr(Lease, "renew", refused_at_first)
    with exclusive_lock(root / ".lock"):
        assert renewed.wait(HANGS_S)
        write_whole(root / "mine", b"under the lock")
