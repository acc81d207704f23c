"""Faults of a Ray cluster: a node taken away, a node added, the head lost and back.

Nodes are real, on this machine; the networks are stand-ins, also in the workers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from fakes import melody, use_fakes, write_audio
from places import SUPPORT

from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from flows.cli.jobs import run_build
from flows.engine.orders import Engine
from flows.executors import on_ray

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1", "deduplicate.by_notes=false")
NUM_PIECES = 12


class Nodes:
    """Nodes of a cluster, each with one processor, as `ray start` makes them."""

    def __init__(self, folder):
        self.folder, self.address = folder, ""
        self._port = 20_000 + os.getpid() % 20_000
        self._environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

    def start_head(self):
        self.address = f"127.0.0.1:{self._port}"
        return self._start("--head", f"--port={self._port}", "--include-dashboard=false")

    def add(self):
        return self._start(f"--address={self.address}")

    def _start(self, *options):
        before = self._running()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats"]
        run = subprocess.run([*command, *options], capture_output=True, text=True, env=self._environment, check=False)
        assert run.returncode == 0, run.stderr[-2000:]
        return self._running() - before

    def _running(self):
        wanted = ("raylet", "gcs_server")
        return {each.pid for each in psutil.process_iter(["name"]) if each.info["name"] in wanted}

    def kill(self, pids):
        for pid in pids:
            for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                os.kill(each.pid, signal.SIGKILL)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """A cluster of one node, whose workers know the stand-ins, and take their time."""
    (tmp_path / "marks").mkdir()
    use_fakes(monkeypatch)
    monkeypatch.setattr(on_ray, "WORK_OFF", "fake_worker:work_off")
    monkeypatch.setattr(on_ray, "CHUNK_S", 0.2)  # many pieces
    monkeypatch.setattr(on_ray, "FIRST_AUDIO_S", {"ingest": 5.0, "transcribe": 5.0})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("SLOW", "2")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    nodes = Nodes(tmp_path)
    started = nodes.start_head()
    yield nodes, started
    for pid in nodes._running():
        if psutil.pid_exists(pid):
            nodes.kill([pid])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for seed in range(NUM_PIECES):
        write_audio(folder / f"take {seed}.wav", melody(5, seed))
    return folder


@pytest.fixture(scope="module")
def here(source, tmp_path_factory):
    """The content hash of the version that one process makes."""
    out = tmp_path_factory.mktemp("here") / "out"
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        run_build(source, out, settings=SETTINGS, with_prefect=False)
    return content_sha256(Manifest(out).rows())


def meanwhile(out, faults):
    """Call `faults` once the first MIDI file is there; gives the thread."""

    def wait_and_fault():
        deadline = time.monotonic() + 300
        while not list((out / "midi").rglob("*.mid")) and time.monotonic() < deadline:
            time.sleep(0.1)
        faults()

    thread = threading.Thread(target=wait_and_fault)
    thread.start()
    return thread


def build_through(nodes, source, out, faults):
    thread = meanwhile(out, faults)
    summary = run_build(source, out, settings=SETTINGS, with_prefect=False, engine=Engine("ray", nodes.address))
    thread.join()
    assert (summary.num_files, summary.failures, summary.not_done) == (NUM_PIECES, [], [])
    return content_sha256(Manifest(out).rows())


def test_a_node_that_is_added_and_one_that_is_taken_away_in_the_middle_of_a_build_change_nothing(
    nodes, source, here, tmp_path
):
    cluster, _ = nodes
    second = cluster.add()

    def faults():
        cluster.kill(second)
        cluster.add()

    assert build_through(cluster, source, tmp_path / "out", faults) == here


def test_a_head_that_is_lost_and_comes_back_costs_only_time(nodes, source, here, tmp_path, capfd):
    cluster, head = nodes

    def faults():
        cluster.kill(head)
        time.sleep(2)
        cluster.start_head()

    assert build_through(cluster, source, tmp_path / "out", faults) == here
