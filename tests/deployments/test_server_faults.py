"""Prefect's server killed and started again, and its database gone, while a deployment's run works: the run goes on.

The server, PostgreSQL and the worker are real; the networks are the stand-ins of `fakes` (support/deployed).
"""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from fakes import melody, write_audio
from places import ROOT
from prefect_team import PREFECT, Database, Server, postgres

from aria_data.manifest import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SETTINGS = ["segment.min_segment_s=4", "ingest.min_duration_s=1"]
NUM_FILES = 12
AWAY_S = 5.0
POOL = ("work-pool", "create", "gpu", "--type", "process")


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A database, a server, a worker for `gpu` that takes its time, and the folder with recordings."""
    if postgres() is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    folder = tmp_path_factory.mktemp("team")
    for number in range(NUM_FILES):
        write_audio(folder / "recordings" / f"{number}.wav", melody(5 + number % 3, seed=number))
    with Database(folder / "database") as database, Server(folder, database.url) as server:
        given = {"ARIA_DATA_FOLDER": str(folder), "SLOW": "1"}
        paths = [str(ROOT / "tests" / "support" / "deployed"), str(ROOT)]
        given["PYTHONPATH"] = os.pathsep.join(paths)
        server.run(*POOL, **given)
        server.run("work-pool", "create", "cpu", "--type", "process", **given)
        server.run("deploy", "--all", **given)
        command = [PREFECT, "worker", "start", "--pool", "gpu", "--type", "process"]
        with open(folder / "worker.log", "wb") as log:
            worker = subprocess.Popen(command, env=server.environment | given, stdout=log, stderr=log, cwd=folder)
        yield folder, server, database
        worker.terminate()
        worker.wait(60)


@pytest.mark.parametrize("fault", ["the server is killed and started again", "the database is gone for a while"])
def test_a_run_goes_on_while_prefect_is_away_and_ends_as_completed(fault, team, build, tmp_path):
    folder, server, database = team
    out = folder / f"dataset {len(fault)}"
    with server.client() as client:
        found = client.read_deployment_by_name("build-dataset/build-dataset")
        run = client.create_flow_run_from_deployment(found.id, parameters={"out": str(out), "settings": SETTINGS})
    while not any((out / "midi").rglob("*.mid")):
        time.sleep(0.2)
    gone = database if "database" in fault else server
    gone.stop()
    time.sleep(AWAY_S)
    gone.start()
    with server.client() as client:
        while not (state := client.read_flow_run(run.id).state).is_final():
            time.sleep(1.0)
    assert state.is_completed(), state.message
    undisturbed = build(folder / "recordings", tmp_path / "out", SETTINGS)
    assert undisturbed.num_files == NUM_FILES
    assert [version.number for version in Manifest(out).versions()] == [1]
    assert Manifest(out).content_sha256() == Manifest(tmp_path / "out").content_sha256()
