"""A schedule makes runs, runs do not overlap, and the doctor sees what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from web_server import Site

from aria_data.config import BuildConfig, load_config
from aria_data.errors import UsageError
from aria_data.records import Candidate
from aria_data.storage import exclusive_lock
from aria_data.storage.stage_tables import StageTable
from flows.cli.command import cli
from flows.cli.jobs import run_serve
from flows.tools import doctor

ARIA = Path(sys.executable).with_name("aria-data")


def collected(root: Path) -> int:
    return len(StageTable(root, "collect", Candidate).all())


@pytest.mark.timeout(2000)  # a guard against hanging: 20 s are expected
@pytest.mark.slow
def test_a_schedule_produces_runs_and_ends_with_its_command(tmp_path):
    with Site() as site:
        site.add_page("/", "Violin concerto", ["/a.flac"])
        seeds = json.dumps([site.address("/")])
        command = [
            str(ARIA), "serve", "--out", str(tmp_path / "dataset"), "--every", "5s", "--set", f"crawl.seeds={seeds}",
            "--set", 'web.allow_hosts=["127.0.0.1"]', "--set", "web.min_interval_s=0",
        ]  # fmt: skip
        server = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # a shell that runs tests in the background has SIGINT ignored, and children inherit that
        try:
            while collected(tmp_path / "dataset") != 1:
                assert server.poll() is None
                time.sleep(0.3)
        finally:
            os.killpg(server.pid, signal.SIGINT)
            said = server.communicate(timeout=1000)[1]  # a guard against hanging
    assert "Prefect's pages: http://127.0.0.1:" in said
    with exclusive_lock(tmp_path / "dataset" / ".lock"):
        pass  # nothing is held any more


def test_a_run_that_meets_another_one_leaves_at_once_and_changes_nothing(tmp_path):
    from flows.serve import crawl_and_build

    values = {"crawl": {"seeds": ["https://example.org/"]}}
    with exclusive_lock(tmp_path / ".lock"):
        state = crawl_and_build.fn(str(tmp_path), values)
    assert state.is_cancelled()
    assert "another build is working" in state.message
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(
    ("cron", "every", "says"),
    [
        ("", "", "say when"),
        ("0 3 * * *", "6h", "say when"),
        ("", "soon", "--every soon"),
        ("0 3 * * *", "", "name a seed"),
    ],
)
def test_a_schedule_that_says_nothing_or_too_much_is_refused(tmp_path, cron, every, says):
    from aria_data.transcribe import Compute

    with pytest.raises(UsageError, match=says):
        run_serve(tmp_path / "d", None, (), Compute(), cron, every, 0, False, lambda address: None)
    assert not (tmp_path / "d").exists()


def states(config: BuildConfig, root: Path | None = None) -> dict[str, str]:
    return {check.name: check.state for check in doctor.examine(root, config)}


def test_the_doctor_finds_this_machine_fit_and_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = states(load_config())
    assert {found[name] for name in ("prefect", "fastapi", "sqlalchemy", "classifier", "transcriber")} == {"ok"}
    assert found["language model"] == "ok"
    assert found["contact"] == "warning"


def test_the_doctor_sees_a_yt_dlp_that_is_old_and_a_missing_javascript_runtime(monkeypatch):
    import yt_dlp.version

    monkeypatch.setattr(yt_dlp.version, "__version__", "2024.01.02")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = states(load_config())
    assert (found["yt-dlp"], found["JavaScript runtime"]) == ("warning", "warning")


def test_the_doctor_asks_the_language_model_and_does_not_show_the_key(monkeypatch):
    with Site() as site:
        site.add("/v1/models", '{"object": "list", "data": [{"id": "m", "object": "model"}]}', "application/json")
        monkeypatch.setenv("OPENAI_BASE_URL", site.address("/v1"))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        (check,) = [one for one in doctor.examine(None, load_config()) if one.name == "language model"]
        assert (check.state, "sk-secret" in str(check)) == ("ok", False)
        site.routes.clear()
        (check,) = [one for one in doctor.examine(None, load_config()) if one.name == "language model"]
        assert (check.state, "sk-secret" in str(check)) == ("failure", False)


def test_the_doctor_sees_who_works_in_a_dataset_and_impolite_settings(tmp_path):
    with exclusive_lock(tmp_path / ".lock"):
        found = states(load_config(settings=["web.min_interval_s=0"]), tmp_path)
    assert (found["dataset"], found["budgets"]) == ("warning", "warning")


def test_the_doctor_speaks_json_and_ends_with_1_when_something_is_broken(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    ended = CliRunner().invoke(cli, ["doctor", "--json"])
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.exit_code == 0
    assert {"name", "state", "saw", "advice"} == set(rows[0])
    monkeypatch.setattr(doctor, "PINS", {"prefect": "9"})
    assert CliRunner().invoke(cli, ["doctor", "--json"]).exit_code == 1
