"""Many missed runs become one, on a real Prefect server, and a schedule is read in the time zone that is said."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner
from web_server import Site

from aria_data.config import load_config, to_values
from aria_data.errors import UsageError
from aria_data.records import Candidate
from aria_data.storage.stage_tables import StageTable
from flows.cli.command import cli
from flows.cli.jobs import run_serve
from flows.engine.prefect_api import temporary_api

ARIA = Path(sys.executable).with_name("aria-data")
CRON = "30 2 * * *"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Prefect server without a scheduler: it has the runs that a test gives it."""
    with temporary_api(tmp_path_factory.mktemp("prefect")) as api:
        yield api


def deployed(out: Path, settings: tuple[str, ...] = (), **schedule) -> UUID:
    from flows.serve import Schedule, _deployment

    return _deployment(
        out, json.loads(json.dumps(to_values(load_config(settings=list(settings))))), {}, Schedule(**schedule)
    ).apply()


def planned(deployment: UUID, *hours: int) -> list[UUID]:
    """Runs that are due so many hours from now."""
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    now = datetime.datetime.now(datetime.UTC)
    with get_client(sync_client=True) as client:
        return [
            client.create_flow_run_from_deployment(
                deployment, state=Scheduled(scheduled_time=now + datetime.timedelta(hours=each))
            ).id
            for each in hours
        ]


def states_of(runs: list[UUID]) -> list[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [str(client.read_flow_run(run).state.type.value) for run in runs]


def test_a_run_cancels_what_was_missed_of_its_own_schedule_and_nothing_else(server, tmp_path, monkeypatch):
    from flows.serve import cancel_missed

    own, other = deployed(tmp_path / "own", cron=CRON), deployed(tmp_path / "other", cron=CRON)
    missed, later = planned(own, *range(-24, 0)), planned(own, 1, 2)
    of_other = planned(other, -2)
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(own))
    assert (cancel_missed(), cancel_missed()) == (24, 0)
    assert set(states_of(missed)) == {"CANCELLED"}
    assert set(states_of([*later, *of_other])) == {"SCHEDULED"}


def test_more_missed_runs_than_a_page_of_the_server_become_one(server, tmp_path, monkeypatch):
    import prefect.client.orchestration._flow_runs.client as of_runs

    from flows.serve import cancel_missed

    own = deployed(tmp_path / "own", cron=CRON)
    planned(own, *range(-7, 0))
    read = of_runs.FlowRunClient.read_flow_runs
    monkeypatch.setattr(of_runs.FlowRunClient, "read_flow_runs", lambda *a, **named: read(*a, **named, limit=3))
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(own))
    assert cancel_missed() == 7


def test_outside_a_schedule_nothing_is_cancelled_and_no_server_is_asked(monkeypatch):
    from flows.serve import cancel_missed

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert cancel_missed() == 0


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [({"cron": CRON}, "UTC"), ({"cron": CRON, "timezone": "Europe/Berlin"}, "Europe/Berlin"), ({"every_s": 60}, "UTC")],
)
def test_a_schedule_is_in_the_time_zone_that_is_said_and_else_in_utc(server, tmp_path, schedule, zone):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (found,) = client.read_deployment(deployed(tmp_path / "d", **schedule)).schedules
    assert found.schedule.timezone == zone


@pytest.mark.parametrize(
    ("cron", "every", "timezone", "says"),
    [
        (CRON, "", "Europe/Berln", "Did you mean Europe/Berlin"),
        (CRON, "", "../../etc/passwd", "Write an IANA name such as Europe/Berlin"),
        ("", "6h", "Europe/Berlin", "belongs to --cron"),
    ],
)
def test_a_time_zone_that_is_none_is_refused_before_anything_starts(tmp_path, cron, every, timezone, says):
    from aria_data.transcribe import Compute

    with pytest.raises(UsageError, match=says):
        run_serve(tmp_path / "d", None, (), Compute(), cron, every, 0, False, lambda address: None, timezone)
    assert not (tmp_path / "d").exists()


def test_the_help_says_which_time_zone_is_meant():
    said = " ".join(CliRunner().invoke(cli, ["serve", "--help"]).stdout.split())
    assert "--timezone" in said
    assert "an IANA name such as Europe/Berlin. [default: UTC]" in said


@pytest.mark.timeout(600)  # a guard against hanging: 20 s are expected
@pytest.mark.slow
def test_a_server_that_was_off_for_a_day_runs_once(server, tmp_path):
    out = tmp_path / "dataset"
    with Site() as site:
        site.add_page("/", "Violin concerto", ["/a.flac"])
        seeds = f"crawl.seeds={json.dumps([site.address('/')])}"
        settings = (seeds, 'web.allow_hosts=["127.0.0.1"]', "web.min_interval_s=0")
        missed = planned(deployed(out, settings, cron=CRON), *range(-5, 0))
        command = [str(ARIA), "serve", "--out", str(out), "--cron", CRON, "--timezone", "Asia/Tokyo"]
        command += [word for setting in settings for word in ("--set", setting)]
        serving = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            while "SCHEDULED" in states_of(missed) or set(states_of(missed)) & {"PENDING", "RUNNING"}:
                assert serving.poll() is None
                time.sleep(0.5)
        finally:
            os.killpg(serving.pid, signal.SIGKILL)
            serving.wait()
    assert sorted(states_of(missed)) == ["CANCELLED"] * 4 + ["COMPLETED"]
    assert len(StageTable(out, "collect", Candidate).all()) == 1
