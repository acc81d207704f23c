"""`prefect deploy --all`, a process worker a pool and a real server: runs do their work, show it, and can be cancelled.

The networks are the stand-ins of `fakes` (support/deployed). One server serves all tests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from fakes import melody, write_audio
from places import ROOT

from aria_data.manifest import Manifest
from aria_data.pruning import ScoreTable
from flows.engine.prefect_api import temporary_api

pytestmark = pytest.mark.slow
PREFECT = str(Path(sys.executable).with_name("prefect"))
SETTINGS = ["segment.min_segment_s=4", "ingest.min_duration_s=1"]
NUM_FILES = 12


@pytest.fixture(scope="module")
def world(prefect_home, tmp_path_factory) -> Iterator[Path]:
    """Recordings, a server, the deployments of prefect.yaml and workers that take their time."""
    folder = tmp_path_factory.mktemp("team")
    for number in range(NUM_FILES):
        write_audio(folder / "recordings" / f"{number}.wav", melody(5 + number % 3, seed=number))
    shutil.copytree(prefect_home, folder / ".prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        with temporary_api(folder / ".prefect", has_schedules=True):
            (folder / "marks").mkdir()
            given = {"ARIA_DATA_FOLDER": str(folder), "SLOW": "1", "MARKS": str(folder / "marks")}
            paths = [str(ROOT / "tests" / "support" / "deployed"), str(ROOT)]
            environment = os.environ | given | {"PYTHONPATH": os.pathsep.join(paths)}
            for pool in ("gpu", "cpu"):
                prefect(environment, "work-pool", "create", pool, "--type", "process")
            prefect(environment, "deploy", "--all")
            with working("gpu", environment, folder), working("cpu", environment, folder):
                yield folder


@contextlib.contextmanager
def working(pool: str, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """A worker of this pool, which takes one run at a time."""
    command = [PREFECT, "worker", "start", "--pool", pool, "--type", "process", "--limit", "1"]
    with open(folder / f"{pool}.log", "wb") as log:
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(60)


def prefect(environment: dict[str, str], *arguments: str) -> None:
    ended = subprocess.run(
        [PREFECT, "--no-prompt", *arguments], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def start(deployment: str, **parameters: Any) -> UUID:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{deployment}/{deployment}")
        return client.create_flow_run_from_deployment(found.id, parameters=parameters).id


def end_of(run: UUID) -> Any:
    """Wait for a run's last state."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while True:
            state = client.read_flow_run(run).state
            if state is not None and state.is_final():
                return state
            time.sleep(0.5)


def artifacts_of(run: UUID) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return client.read_artifacts(artifact_filter=wanted)


def workers_below(folder: Path) -> list[psutil.Process]:
    """Processes of builds whose Prefect keeps its files in `folder`, Ray's too."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            names = ("worker.py", "raylet", "gcs_server", "ray::")
            is_of_build = any(name in part for part in command for name in names)
            if is_of_build and str(folder) in process.environ().get("PREFECT_HOME", ""):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_every_deployment_is_there_with_its_pool_schedule_and_limit(world):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = {one.name: one for one in client.read_deployments()}
    pools = {name: one.work_pool_name for name, one in found.items()}
    assert pools == {"crawl-and-build": "gpu", "build-dataset": "gpu", "rebuild": "gpu", "select-subset": "cpu"}
    (schedule,) = found["crawl-and-build"].schedules
    assert schedule.schedule.timezone == "Europe/Berlin"
    assert {name: one.global_concurrency_limit.limit for name, one in found.items()} == {
        "crawl-and-build": 1, "build-dataset": 4, "rebuild": 4, "select-subset": 4,
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_cancelled_run_stops_its_workers_and_leaves_a_dataset_that_builds_on(engine, world, build, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    if engine == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    out = world / f"cancelled {engine}"
    on_ray = {"engine": "ray", "workers": 1} if engine == "ray" else {}
    run = start("build-dataset", out=str(out), settings=SETTINGS, **on_ray)
    while not any((out / "midi").rglob("*.mid")):
        time.sleep(0.2)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling())
    assert end_of(run).is_cancelled()
    if engine == "ray":
        assert list((world / "marks").glob("pid *"))  # its actors were at work
    while workers_below(world):
        time.sleep(0.2)
    assert Manifest(out).version() == 0
    went_on = build(world / "recordings", out, SETTINGS)
    undisturbed = build(world / "recordings", tmp_path / "out", SETTINGS)
    assert went_on.num_files == undisturbed.num_files == NUM_FILES
    assert went_on.stages["transcribe"].num_done_before > 0
    hashes = {Manifest(each).versions()[-1].content_sha256 for each in (out, tmp_path / "out")}
    assert len(hashes) == 1


def test_a_run_shows_progress_results_and_the_report_on_its_page(world):
    out = world / "dataset"
    address = "https://files.example.org/dataset"
    parameters = {"settings": [*SETTINGS, "ingest.min_duration_s=6"], "report_address": address}
    run = start("build-dataset", **parameters)
    state = end_of(run)
    assert state.is_completed(), state.message
    assert state.message == "version 1 (new): 8 files"
    shown = {one.type: one for one in artifacts_of(run)}
    assert shown["progress"].data == 100.0
    assert "recordings: 12 of 12" in shown["progress"].description
    assert f"{address}/report.html" in shown["markdown"].data
    assert (out / "report.html").is_file()
    tables = " ".join(str(one.data) for one in artifacts_of(run) if one.type == "table")
    assert "duration_below_min" in tables
    assert '"files", "value": 8' in tables


def test_a_subset_is_selected_by_a_run_of_the_other_pool(world, build):
    out = world / "selected"
    build(world / "recordings", out, SETTINGS)
    ids = [row["segment_id"] for row in Manifest(out).rows()]
    ScoreTable.of(ids, {"loss": list(map(float, range(len(ids))))}).save(out / "scores" / "mine.parquet")
    run = start("select-subset", out=str(out), name="few", method="top", score="loss", unit="files", amount=3)
    state = end_of(run)
    assert state.is_completed(), state.message
    assert state.message == "version 2: in_few holds 3 files"
    assert Manifest(out).query("in_few").num_rows == 3
    shown = " ".join(str(one.data) for one in artifacts_of(run) if one.type == "table")
    assert "3 of 12" in shown
