"""Faults of a Ray cluster: nodes taken away, added, with a full disk, the head lost and back, the build killed.

Nodes are real, on this machine; the networks are stand-ins, also in the workers. docs/cluster.md lists all faults.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import threading
import time

import psutil
import pytest
from fakes import melody, use_fakes, write_audio
from places import ROOT, SUPPORT
from ray_nodes import Nodes, use_workers_of_tests

from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from flows.cli.jobs import run_build
from flows.engine.orders import Engine
from flows.executors import on_ray

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1", "screen.scorer=rules", "screen.min_relevance_score=3")
NUM_PIECES = 12


@pytest.fixture
def marks(tmp_path, monkeypatch):
    """The folder of marks of workers, which are stand-ins and take their time."""
    folder = tmp_path / "marks"
    folder.mkdir()
    use_workers_of_tests(monkeypatch, folder)
    monkeypatch.setenv("SLOW", "2")
    return folder


@pytest.fixture
def nodes(marks):
    """A cluster of one node, and the ids of its processes."""
    with Nodes() as nodes:
        yield nodes, nodes.start_head()


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


def when_begun(out, faults):
    """Call `faults` once the first MIDI file is there; gives the thread."""

    def wait_and_fault():
        deadline = time.monotonic() + 300
        while not list((out / "midi").rglob("*.mid")) and time.monotonic() < deadline:
            time.sleep(0.1)
        faults()

    thread = threading.Thread(target=wait_and_fault)
    thread.start()
    return thread


def build_through(address, source, out, faults):
    thread = when_begun(out, faults)
    try:
        summary = run_build(source, out, settings=SETTINGS, with_prefect=False, engine=Engine("ray", address))
    finally:
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

    assert build_through(cluster.address, source, tmp_path / "out", faults) == here


@pytest.mark.parametrize(
    ("is_client", "outage_s"),
    [(False, 5), (False, 30), (True, 15)],
    ids=["short", "longer than Ray waits", "as a client"],
)
def test_a_head_that_is_lost_and_comes_back_costs_only_time(
    is_client, outage_s, nodes, source, here, tmp_path, monkeypatch, capfd
):
    cluster, head = nodes
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")  # Ray's own patience; else a minute

    def faults():
        cluster.kill(head)
        time.sleep(outage_s)
        cluster.start_head()

    address = cluster.client_address if is_client else cluster.address
    assert build_through(address, source, tmp_path / "out", faults) == here
    said = capfd.readouterr().err
    if outage_s == 30:
        assert "the Ray cluster went away. The build waits 10 minutes for it; what is finished stays." in said


def test_a_node_whose_disk_is_full_is_named_and_the_others_do_its_work(
    nodes, source, here, marks, tmp_path, small_disk, monkeypatch, capfd
):
    cluster, _ = nodes
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - (100 << 10)))
    cluster.add(TMPDIR=str(small_disk))
    monkeypatch.setattr(on_ray, "WORK", "fake_worker:work_elsewhere")  # recordings are sent, and kept in TMPDIR
    assert build_through(cluster.address, source, tmp_path / "out", lambda: None) == here
    said = capfd.readouterr().err
    assert re.search(f"a worker on .*{small_disk}.*: no space left on the device. Free some", said), said
    assert "It gets no work for 10 minutes, if others can do it." in said


def test_a_build_that_is_killed_takes_its_actors_along_and_the_next_one_goes_on(nodes, source, here, marks, tmp_path):
    cluster, _ = nodes
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, str(SUPPORT / "build_child.py"), str(source), str(out), "slow", f"ray={cluster.address}"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with child:
        while not list((out / "midi").rglob("*.mid")):
            assert child.poll() is None
            time.sleep(0.1)
        family = psutil.Process(child.pid).children(recursive=True)
        child.kill()
    actors = {int(mark.name.split()[1]) for mark in marks.glob("pid *")}
    for pid in [*actors, *(each.pid for each in family)]:
        while is_running(pid):
            time.sleep(0.1)
    num_done = len(list((out / "midi").rglob("*.mid")))
    assert 0 < num_done < NUM_PIECES
    assert build_through(cluster.address, source, out, lambda: None) == here
    assert not list(out.rglob("*.partial"))


def is_running(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
