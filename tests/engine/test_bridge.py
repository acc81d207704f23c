"""A process that makes several calls at the same time for this one: what it says, what it cannot say, and its end."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from places import SUPPORT

from flows.workers.bridge import Bridge, BridgeDied
from flows.workers.lanes import Stopped
from flows.workers.processes import Workers


@pytest.fixture
def bridge(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    bridge = Bridge("is tested")
    yield bridge
    bridge.close()


def test_calls_are_made_at_the_same_time_and_each_hears_its_own_answers(bridge):
    def listen(number, heard):
        heard[number] = list(bridge.call("deadly:count", number))

    heard = {}
    threads = [threading.Thread(target=listen, args=(number, heard)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    waiting = bridge.call("deadly:count", 10**9)  # does not end while the others do
    assert next(waiting) == 0
    for thread in threads:
        thread.join(60)
    assert heard == {number: list(range(number)) for number in range(1, 6)}
    waiting.close()
    assert bridge.ask("deadly:count", 0)[0] != os.getpid()


@pytest.mark.parametrize("function", ["deadly:raise_what_cannot_be_sent", "deadly:raise_what_cannot_be_read"])
def test_an_error_that_cannot_travel_is_told_by_its_words_and_nothing_hangs(bridge, function, monkeypatch):
    with pytest.raises(RuntimeError, match="a lock inside"):
        bridge.ask(function)
    assert bridge.ask("deadly:count", 1)
    pool = Workers(1)
    with pytest.raises(RuntimeError, match="a lock inside"):
        list(pool.call(function))
    pool.close()


def test_when_it_dies_every_call_is_told_and_the_next_one_has_a_new_process(bridge):
    waiting = bridge.call("deadly:count", 10**9)
    assert next(waiting) == 0
    first = bridge.ask("deadly:count", 0)[0]
    os.kill(first, signal.SIGKILL)
    with pytest.raises(BridgeDied, match="SIGKILL"):
        list(waiting)
    assert bridge.ask("deadly:count", 0)[0] != first


def test_it_ends_at_once_when_it_is_closed_and_takes_no_call_after_that(bridge):
    pid = bridge.ask("deadly:count", 0)[0]
    waiting = bridge.call("deadly:sleep", 600)
    threading.Timer(0.5, bridge.close).start()
    with pytest.raises(BridgeDied):
        list(waiting)
    with pytest.raises(Stopped):
        bridge.ask("deadly:count", 0)
    end = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}/stat") and time.monotonic() < end:
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    assert time.monotonic() < end
