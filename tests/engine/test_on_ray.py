"""Work on a Ray cluster: the same dataset as on this machine, whatever dies. The cluster is real, on this machine; the
networks are stand-ins, also in its workers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from fakes import melody, noise, use_fakes, write_audio
from places import SUPPORT

from aria_data.config import BuildConfig
from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from aria_data.records import Candidate
from aria_data.storage.stage_tables import StageTable
from flows.cli.jobs import run_build
from flows.engine.context import BuildContext, Item
from flows.engine.orders import Engine
from flows.engine.stages import INGEST, TRANSCRIBE
from flows.executors import on_ray, parcels
from flows.executors.on_ray import OnRay, Pace
from flows.speed.perf_file import read_builds
from flows.workers import ray_cluster

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Pieces, two of them in one file, a copy, rain, and rubbish."""
    import numpy as np

    folder = tmp_path_factory.mktemp("source")
    for seed in range(3):
        write_audio(folder / f"take {seed}.wav", melody(5, seed))
    write_audio(folder / "two.wav", np.concatenate([melody(5, 5), noise(10), melody(5, 6)]))
    write_audio(folder / "rain.wav", noise(5))
    (folder / "copy.wav").write_bytes((folder / "take 0.wav").read_bytes())
    (folder / "broken.mp3").write_bytes(b"this is no audio")
    return folder


@pytest.fixture(scope="module")
def here(source, tmp_path_factory):
    """The dataset that is made in one process."""
    out = tmp_path_factory.mktemp("here") / "out"
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        assert build(source, out, Engine()).num_files == 5
    return out


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two processors on this machine, whose workers know the stand-ins. Gives the folder of marks."""
    marks = tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("MARKS", str(marks))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        patch.setattr(Cluster, "address", ray.get_runtime_context().gcs_address)
        yield marks
        ray.shutdown()


@pytest.fixture
def marks(cluster, monkeypatch):
    """The folder of marks, empty; builds have their work done by stand-ins on the cluster."""
    for mark in cluster.iterdir():
        mark.unlink()
    use_fakes(monkeypatch)
    monkeypatch.setattr(on_ray, "WORK_OFF", "fake_worker:work_off")
    monkeypatch.setattr(on_ray, "GONE_S", 1.0)
    return cluster


class Cluster:
    address = ""


def build(source, out, engine=None):
    engine = engine or Engine("ray", Cluster.address)
    return run_build(source, out, settings=SETTINGS, with_prefect=False, engine=engine)


def result_of(out):
    return content_sha256(Manifest(out).rows())


def segment_of(out, source_url):
    return next(row["segment_id"] for row in Manifest(out).rows() if row["source_url"] == source_url)


def pids_in(marks):
    return {int(mark.name.split()[1]) for mark in marks.glob("pid *")}


def test_a_cluster_gives_the_same_version_as_this_machine(source, here, marks, tmp_path):
    summary = build(source, tmp_path / "out")
    assert result_of(tmp_path / "out") == result_of(here)
    assert (summary.num_files, len(summary.failures), summary.not_done) == (5, 1, [])
    assert os.getpid() not in pids_in(marks)
    assert len(pids_in(marks)) == 2
    assert not build(source, tmp_path / "out").is_new_version
    (noted,) = [one for one in read_builds(tmp_path / "out") if one["is_finished"]][:1]
    for stage in noted["stages"]:
        if stage["stage"] in ("ingest", "transcribe", "measure"):
            workers = {name: one for name, one in stage["workers"].items() if name != "main"}
            assert {int(name.split()[-1]) for name in workers} <= pids_in(marks)
            assert sum(one["num_items"] for one in workers.values()) == stage["num_items"]
            assert all(one["working_s"] > 0 for one in workers.values())


@pytest.mark.slow
def test_a_checkpoint_of_ones_own_reaches_workers_that_do_not_see_it(source, here, marks, tmp_path, monkeypatch):
    """The networks are stand-ins, but for the way to their weights."""
    weights = tmp_path / "weights.pth"
    weights.write_bytes(os.urandom(300_000))
    monkeypatch.undo()
    use_fakes(monkeypatch)
    monkeypatch.setattr(on_ray, "WORK_OFF", "fake_worker:work_off_with_weights")
    monkeypatch.setattr(on_ray, "WORK", "fake_worker:work_elsewhere")
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setattr(BuildContext, "transcriber_sha256", sha256)
    settings = (*SETTINGS, "transcribe.transcriber=bytedance", f"transcribe.checkpoint={weights}")
    engine = Engine("ray", Cluster.address)
    summary = run_build(source, tmp_path / "out", settings=settings, with_prefect=False, engine=engine)
    assert (summary.num_files, summary.not_done) == (5, [])
    loaded = {mark.read_text() for mark in marks.glob("weights *")}
    assert {line.split()[0] for line in loaded} == {sha256}
    assert all(line.split()[1] != str(weights) for line in loaded)


@pytest.mark.slow
def test_workers_that_see_no_common_disk_are_sent_the_files_and_keep_none_after_their_end(
    source, here, marks, tmp_path, monkeypatch
):
    monkeypatch.setattr(on_ray, "WORK", "fake_worker:work_elsewhere")
    build(source, tmp_path / "out")
    assert result_of(tmp_path / "out") == result_of(here)
    sent = {mark.name.removeprefix("sent ") for mark in marks.glob("sent *")}
    assert {"take 0.wav", "broken.mp3"} <= sent
    assert any(name.endswith(".mid") for name in sent)
    build(source, tmp_path / "again")  # its workers delete the folders of those that are gone
    left = [folder.name for folder in Path(tempfile.gettempdir()).glob(f"{parcels.NAME}*")]
    mine = [name for name in left if int(name.removeprefix(parcels.NAME).partition("-")[0]) in pids_in(marks)]
    assert len(mine) <= 2  # others' workers have theirs there, too


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ingest", "classify", "fingerprint", "transcribe", "measure"])
def test_a_worker_that_is_killed_in_any_stage_costs_nothing_but_its_work_made_again(
    stage, source, here, marks, tmp_path
):
    if stage in ("classify", "fingerprint"):  # which ingest does on its way: it is done before
        shutil.copytree(here, tmp_path / "out")
        shutil.rmtree(tmp_path / "out" / "tables" / stage)
        shutil.rmtree(tmp_path / "out" / "index")
    (marks / f"stage {stage}").write_text("2")
    summary = build(source, tmp_path / "out")
    assert result_of(tmp_path / "out") == result_of(here)
    assert (marks / f"stage {stage}").read_text() == "0"
    assert (len(summary.failures), summary.not_done) == (1, [])


@pytest.mark.slow
def test_an_item_that_kills_every_worker_fails_alone_and_by_name(source, here, marks, tmp_path):
    (marks / segment_of(here, "take 2.wav")).write_text("99")
    summary = build(source, tmp_path / "out")
    assert summary.num_files == 4
    (line,) = [line for line in summary.failures if "kills_its_worker" in line]
    assert "take%202.wav: each of 3 processes that worked on it (transcribe) was killed by it" in line


def test_deaths_whose_machines_went_away_are_not_the_items_own(source, here, marks, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "GONE_S", 0.1)
    (alive,) = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    context = BuildContext(tmp_path, BuildConfig())
    with closing(OnRay(context, Engine("ray", Cluster.address))) as executor:
        assert executor.of_items([alive, "gone", alive]) == [alive, alive]
        assert executor.of_items([alive, alive, alive]) == [alive, alive, alive]


@pytest.mark.slow
def test_the_clocks_of_workers_do_not_matter(source, here, marks, tmp_path):
    (marks / "clock").write_text(str(-20 * 365 * 86_400))
    build(source, tmp_path / "out")
    assert result_of(tmp_path / "out") == result_of(here)


@pytest.mark.slow
def test_kills_at_random_lose_nothing(source, here, marks, tmp_path):
    """Two of them: what kills three workers in a row has failed."""
    stopped = threading.Event()

    def kill_now_and_then():
        for _ in range(2):
            while not stopped.wait(1.0) and not (alive := [pid for pid in pids_in(marks) if psutil.pid_exists(pid)]):
                pass
            if stopped.wait(1.0):
                return
            victim = random.choice(alive)
            (marks / f"pid {victim}").unlink()
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        deadline = time.monotonic() + 300
        while build(source, tmp_path / "out").not_done:
            assert time.monotonic() < deadline
    finally:
        stopped.set()
        killer.join()
    assert result_of(tmp_path / "out") == result_of(here)


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_line(source, tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    with pytest.raises(
        UsageError, match=r"--address 127.0.0.1:1: no Ray cluster answers .* Start one \(ray start --head\)"
    ):
        build(source, tmp_path / "out", Engine("ray", "127.0.0.1:1"))


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"name": "dask"}, "--engine dask: is not one of local, ray"),
        ({"address": "auto"}, "--address and --workers are for --engine ray"),
        ({"name": "ray", "gpus_per_worker": 0}, "must be above 0"),
    ],
)
def test_a_wrong_engine_is_said_before_anything_starts(engine, said):
    with pytest.raises(UsageError, match=said):
        Engine(**engine)


def test_a_worker_is_asked_for_the_files_of_its_own_items_only(here):
    context = BuildContext(here, BuildConfig())
    candidates = [outcome.record for outcome in StageTable(here, "collect", Candidate).all()]
    items = [Item(one.candidate_id, one.candidate_id, {}, one) for one in candidates]
    for item in items:
        assert list(on_ray.files_of(context, INGEST, [item])) == [item.payload.location]


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("", "did not start on this machine .*--address auto"),
        ("auto", "--address auto: no Ray cluster answers"),
        ("10.0.0.1:6379", "--address 10.0.0.1:6379: somebody listens there, but .* RAY_AUTH_MODE has to be the same"),
    ],
)
def test_a_machine_on_which_ray_does_not_start_in_time_is_tried_again_and_then_said(address, advice, monkeypatch):
    """Ray gives a node of its own 30 s; a machine that is that busy cannot be had for a test."""
    tries = []

    def init(**settings):
        tries.append(settings)
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray_cluster.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(ray_cluster, "_answers", lambda address: ":" in address)
    with pytest.raises(UsageError, match=advice):
        ray_cluster.connect(address, 2, [])
    assert len(tries) == ray_cluster.TRIES


def test_a_worker_is_given_as_much_as_it_does_in_some_seconds_and_less_where_a_shard_ends():
    class Payload:
        location = "x"

    items = [Item(f"{n}", "", {}, Payload(), 30.0) for n in range(40)]
    pace = Pace()
    assert [len(piece) for piece in pace.cut(TRANSCRIBE, items, 2)] == [2] * 20
    pace.note(audio_s=600.0, worked_s=60.0)  # ten times real time
    assert [len(piece) for piece in pace.cut(TRANSCRIBE, items, 2)] == [5, 5, 5, 5, 5, 4, 3, 2, 2, 1, 1, 1, 1]
    pace.note(audio_s=600_000.0, worked_s=0.1)
    assert [len(piece) for piece in pace.cut(INGEST, items, 4)] == [10] * 4  # all workers get something
