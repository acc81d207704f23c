"""Prefect is a guest of a build: what surrounds it does not reach it, without it the build ends all the same, and it
leaves nothing behind. The servers are real; the networks are the stand-ins of `fakes`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import prefect
import psutil
import pytest
from api_server import Answer, serving
from fakes import FakeClassifier, melody, use_fakes, write_audio
from places import ROOT

from aria_data.errors import AriaDataError
from aria_data.storage import exclusive_lock
from flows.build_dataset import build
from flows.engine import prefect_api
from flows.engine.prefect_api import PrefectNotAnswering, temporary_api
from flows.engine.prefect_environment import is_loopback, loopback_without_proxy

SETTINGS = ["segment.min_segment_s=5"]
MINE = "sqlite+aiosqlite:///{folder}/mine.db"
CLOSED = "http://127.0.0.1:9"  # nobody listens on the port of the discard service


@pytest.fixture(autouse=True)
def world(monkeypatch, tmp_path):
    """Two recordings in `in`, the fakes, and an environment that names no server and no proxy."""
    use_fakes(monkeypatch)
    without_servers(monkeypatch)
    make_recordings(tmp_path / "in")
    return tmp_path


def without_servers(patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "PREFECT_API_URL"]:
        patch.delenv(name)


def make_recordings(folder: Path) -> None:
    for number in range(2):
        write_audio(folder / f"{number}.wav", melody(8 + number))


def out_of(world: Path, home: Path) -> Path:
    shutil.copytree(home, world / "out" / ".prefect")
    return world / "out"


def environment() -> dict[str, str]:
    return dict(os.environ)


def runs_in(home: Path) -> dict[str, set[str]]:
    """The states of the flow runs and of the task runs on record."""
    with sqlite3.connect(home / "prefect.db") as database:
        return {kind: {row[0] for row in database.execute(f"SELECT state_type FROM {kind}")} for kind in RUNS}


RUNS = ("flow_run", "task_run")
COMPLETED = dict.fromkeys(RUNS, {"COMPLETED"})


def said(capfd) -> list[str]:
    """What was said of trouble: our lines, and any of Prefect's log."""
    return troubles(capfd.readouterr().err)


def troubles(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("aria-data:") or " | " in line]


def children() -> list[psutil.Process]:
    """The servers that run."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "flows.engine.prefect_api" in child.cmdline()]


@pytest.mark.parametrize(
    "surroundings", [{"all_proxy": "socks://127.0.0.1:9"}, {"http_proxy": CLOSED, "no_proxy": "[::1"}]
)
def test_a_schedule_whose_runs_would_fail_at_a_proxy_says_so_at_once(surroundings, world, monkeypatch):
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    refused = pytest.raises(PrefectNotAnswering, match=r"proxy variables .* --set web\.proxy=ADDRESS")
    with refused, temporary_api(world / ".prefect", has_schedules=True):
        pass


@dataclasses.dataclass(frozen=True)
class Surrounded:
    """What came of a build with an API of its own, amid everything of the user's that must not reach it."""

    folder: Path
    num_files: int
    said: list[str]
    asked_of_the_proxy: list
    environment: list[dict[str, str]]  # before and after
    threads: list[str]  # that are left


THEIRS = {
    "PREFECT_API_DATABASE_CONNECTION_URL": MINE,
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": MINE,
    "PREFECT_API_AUTH_STRING": "e:f",
    "PREFECT_SERVER_API_AUTH_STRING": "g:h",
    "PREFECT_API_KEY": "pnu_1",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "no"}',
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_API_SSL_CERT_FILE": "/nowhere",
    "PREFECT_PROFILES_PATH": "{folder}/profiles.toml",
    "PREFECT_PROFILE": "mine",
    "prefect_server_database_timeout": "not a number",
    "PREFECT_LOGGING_LEVEL": "LOUD",
    **dict.fromkeys(("http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), "{proxy}"),
}


@contextlib.contextmanager
def standard_error_in(path: Path) -> Iterator[None]:
    """What this process and its children print on standard error goes to a file; `capfd` is for one test only."""
    kept = os.dup(2)
    with open(path, "w") as file, contextlib.redirect_stderr(file):
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@pytest.fixture(scope="module")
def surrounded(prefect_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrounded")
    user = folder / "user"
    user.mkdir()
    mine = MINE.format(folder=user)
    profile = f'PREFECT_API_AUTH_STRING = "a:b"\nPREFECT_SERVER_DATABASE_CONNECTION_URL = "{mine}"\n'
    (user / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\n{profile}')
    (user / "prefect.toml").write_text(f'[api]\nkey = "k"\n[server.database]\nconnection_url = "{mine}"\n')
    (user / ".env").write_text("PREFECT_SERVER_API_AUTH_STRING=c:d\n")
    (user / "uvicorn.py").write_text("raise SystemExit('a file of the user')")
    make_recordings(folder / "in")
    errors = folder / "errors"
    with pytest.MonkeyPatch.context() as patch, serving(lambda path, parameters: Answer({}, 502)) as proxy:
        use_fakes(patch)
        without_servers(patch)
        patch.chdir(user)
        for name, value in THEIRS.items():
            patch.setenv(name, value.replace("{folder}", str(user)).replace("{proxy}", proxy.address))
        out, before = out_of(folder, prefect_home), environment()
        with standard_error_in(errors):
            num_files = build(folder / "in", out, settings=SETTINGS).num_files
        threads = [thread.name for thread in threading.enumerate()]
        return Surrounded(
            folder, num_files, troubles(errors.read_text()), proxy.asked, [before, environment()], threads
        )


def test_a_build_never_asks_its_own_api_through_a_proxy(surrounded):
    assert (surrounded.num_files, surrounded.asked_of_the_proxy, surrounded.said) == (2, [], [])


def test_neither_variables_nor_profiles_nor_files_of_the_user_reach_the_builds_own_api(surrounded):
    assert surrounded.said == []
    assert runs_in(surrounded.folder / "out" / ".prefect") == COMPLETED
    assert sorted(path.name for path in (surrounded.folder / "user").iterdir()) == [
        ".env", "prefect.toml", "profiles.toml", "uvicorn.py",
    ]  # fmt: skip


def test_the_environment_is_as_before_after_a_build(surrounded):
    before, after = surrounded.environment
    assert before == after


def test_no_thread_of_prefects_waits_for_an_api_that_has_ended(surrounded):
    assert [name for name in surrounded.threads if name.startswith("EventsWorker")] == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"{CLOSED}/api", "Connection refused"),
        ("https://127.0.0.1:9/api", "Connection refused"),
        ("http://[::1]:9/api", "no Prefect API answers there"),
        ("http://no-such-host.invalid:4200/api", "no Prefect API answers there"),
        ("localhost:4200/api", "unsupported protocol"),
        ("http://[::1/api", "settings are not valid"),
    ],
)
def test_a_dead_api_url_is_said_by_name_with_what_to_do(url, says, world, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", url)
    before = environment()
    with pytest.raises(PrefectNotAnswering) as refused, temporary_api(world / ".prefect"):
        pass
    assert str(refused.value).startswith(f"PREFECT_API_URL={url}: ")
    assert says in str(refused.value)
    assert str(refused.value).endswith("Mend or unset PREFECT_API_URL, or build with --no-prefect.")
    assert environment() == before


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer({}, 401), "refuses access (401); look at PREFECT_API_KEY and PREFECT_API_AUTH_STRING"),
        (Answer({}, 403), "refuses access (403)"),
        (Answer({}, 404), "it answers 404"),
        (Answer(b"<html>hello", content_type="text/html"), "no Prefect API answers there"),
    ],
)
def test_a_server_that_refuses_or_is_another_program_is_said_by_name(answer, says, world, monkeypatch):
    with serving(lambda path, parameters: answer) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"{server.address}/api")
        with pytest.raises(PrefectNotAnswering) as refused, temporary_api(world / ".prefect"):
            pass
    assert says in str(refused.value)


def test_a_server_that_speaks_no_tls_or_says_nothing_is_said_by_name(world, monkeypatch):
    monkeypatch.setattr(prefect_api, "ANSWER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for scheme in ("http", "https"):
            monkeypatch.setenv("PREFECT_API_URL", f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/api")
            with pytest.raises(PrefectNotAnswering, match="timed out"), temporary_api(world / ".prefect"):
                pass


def test_a_name_and_password_in_the_api_url_are_not_shown(world, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    with pytest.raises(PrefectNotAnswering) as refused, temporary_api(world / ".prefect"):
        pass
    assert "secret" not in str(refused.value)
    assert "http://127.0.0.1:9/api" in str(refused.value)


def test_a_build_goes_on_without_a_dead_api(world, monkeypatch, capfd):
    monkeypatch.setenv("PREFECT_API_URL", f"{CLOSED}/api")
    before = environment()
    summary = build(world / "in", world / "out", settings=SETTINGS)
    assert (summary.version, summary.num_files) == (1, 2)
    (line,) = said(capfd)
    assert line.startswith("aria-data: the build goes on without Prefect's record of it. PREFECT_API_URL=")
    assert environment() == before


def a_file_in_its_place(out: Path, monkeypatch) -> str:
    out.mkdir()
    (out / ".prefect").write_text("")
    return "cannot be written"


def a_broken_database(out: Path, monkeypatch) -> str:
    (out / ".prefect").mkdir(parents=True)
    (out / ".prefect" / "prefect.db").write_bytes(b"not a database" * 1000)
    return "file is not a database"


def a_python_that_ends_at_once(out: Path, monkeypatch) -> str:
    fake = out.parent / "python"
    fake.write_text("#!/bin/sh\necho 'OSError: [Errno 98] Address already in use' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    return "Prefect's API did not start: OSError: [Errno 98] Address already in use (exit code 1; "


@pytest.mark.parametrize("obstacle", [a_file_in_its_place, a_broken_database, a_python_that_ends_at_once])
def test_a_build_whose_api_does_not_start_says_its_last_words_and_goes_on(obstacle, world, monkeypatch, capfd):
    says = obstacle(world / "out", monkeypatch)
    before = environment()
    summary = build(world / "in", world / "out", settings=SETTINGS)
    (line,) = said(capfd)
    assert (summary.version, summary.num_files) == (1, 2)
    assert says in line
    assert (environment(), children()) == (before, [])


def test_a_server_that_dies_during_a_build_costs_one_line(world, prefect_home, monkeypatch, capfd):
    score = FakeClassifier.score_blocks

    def kill_and_score(self, blocks):
        for child in children():
            child.kill()
        return score(self, blocks)

    monkeypatch.setattr(FakeClassifier, "score_blocks", kill_and_score)
    out, before = out_of(world, prefect_home), environment()
    summary = build(world / "in", out, settings=SETTINGS)
    assert (summary.version, summary.num_files, summary.not_done) == (1, 2, [])
    (line,) = said(capfd)
    assert line.startswith("aria-data: Prefect's API ended during the build: ")
    assert "(signal 9; " in line
    assert (environment(), children()) == (before, [])
    with exclusive_lock(out / ".lock"):
        pass


def test_the_environment_is_as_before_after_a_build_that_fails(world, prefect_home, monkeypatch):
    def fail(self, blocks):
        raise AriaDataError("a fault of ours")

    monkeypatch.setattr("flows.build.assemble.Build.prune", fail)
    out, before = out_of(world, prefect_home), environment()
    with pytest.raises(TypeError):
        build(world / "in", out, settings=SETTINGS)
    assert (environment(), children()) == (before, [])


def test_the_work_does_not_wait_for_the_api(world, monkeypatch, capfd):
    """The server comes up only when a file has been classified: were it waited for, nothing ever would be."""
    classified, waited = threading.Event(), []
    score = FakeClassifier.score_blocks

    def noted(self, blocks):
        classified.set()
        return score(self, blocks)

    def patiently(self):
        waited.append(classified.wait(60))
        raise PrefectNotAnswering("it comes too late.")

    monkeypatch.setattr(FakeClassifier, "score_blocks", noted)
    monkeypatch.setattr(prefect_api.Starting, "wait", patiently)
    assert build(world / "in", world / "out", settings=SETTINGS).num_files == 2
    assert waited == [True]
    assert said(capfd) == ["aria-data: the build goes on without Prefect's record of it. it comes too late."]


@contextlib.contextmanager
def their_server(home: Path) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
    """A server that belongs to the user, with a password, and the variables that name it."""
    variables = {"PREFECT_HOME": str(home), "PREFECT_SERVER_API_AUTH_STRING": "me:secret"}
    child = subprocess.Popen(
        [sys.executable, "-m", "flows.engine.prefect_api"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | variables,
    )  # fmt: skip
    with child:
        port = int(child.stdout.readline())
        prefect_api._wait_until_ready(port, lambda: None)
        yield child, {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": "me:secret"}
        child.kill()


@pytest.fixture(scope="module")
def one_server(prefect_home, tmp_path_factory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A server of the user's for the tests that let it live: its home, and the variables that name it."""
    home = tmp_path_factory.mktemp("theirs") / ".prefect"
    shutil.copytree(prefect_home, home)
    with their_server(home) as (_, variables):
        yield home, variables


@pytest.fixture
def shared_server(one_server, world, monkeypatch) -> Path:
    """The home of that server, which the environment names."""
    home, variables = one_server
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return home


def test_a_server_of_the_users_own_is_used_with_the_users_settings(world, shared_server, monkeypatch, capfd):
    monkeypatch.setenv("http_proxy", CLOSED)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:wrong")
    with pytest.raises(PrefectNotAnswering, match="refuses access"), temporary_api(world / ".prefect"):
        pass
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    before = environment()
    assert build(world / "in", world / "out", settings=SETTINGS).num_files == 2
    assert (said(capfd), environment()) == ([], before)
    assert runs_in(shared_server) == COMPLETED
    assert not (world / "out" / ".prefect").exists()


@pytest.mark.parametrize(
    "surroundings",
    [
        {"HTTP_PROXY": "{proxy}", "no_proxy": " example.org;[::1] , ::1/128"},
        {"all_proxy": "socks://127.0.0.1:9", "NO_PROXY": "10.0.0.0/8,[::1]"},  # one that httpx does not know
    ],
)
def test_a_server_on_this_machine_is_never_asked_through_a_proxy(
    surroundings, world, shared_server, monkeypatch, capfd
):
    with serving(lambda path, parameters: Answer({}, 502)) as proxy:
        for name, value in surroundings.items():
            monkeypatch.setenv(name, value.format(proxy=proxy.address))
        before = environment()
        assert build(world / "in", world / "out", settings=SETTINGS).num_files == 2
    assert (proxy.asked, said(capfd), environment()) == ([], [], before)


def test_a_server_of_the_users_own_that_dies_during_a_build_costs_one_line(world, prefect_home, monkeypatch, capfd):
    score = FakeClassifier.score_blocks
    shutil.copytree(prefect_home, world / "theirs")
    with their_server(world / "theirs") as (server, variables):

        def kill_and_score(self, blocks):
            server.kill()
            return score(self, blocks)

        monkeypatch.setattr(FakeClassifier, "score_blocks", kill_and_score)
        for name, value in {**variables, "PREFECT_CLIENT_MAX_RETRIES": "1"}.items():
            monkeypatch.setenv(name, value)
        assert build(world / "in", world / "out", settings=SETTINGS).num_files == 2
    errors = capfd.readouterr().err
    (line,) = [line for line in errors.splitlines() if "x real time" not in line and not re.search(r"\d/\d in", line)]
    assert line.startswith("aria-data: Prefect's API at http://127.0.0.1:")


def test_a_build_inside_a_flow_of_the_users_is_no_part_of_it(world):
    from prefect.context import FlowRunContext

    seen = []

    def recipe(*arguments):
        seen.append(FlowRunContext.get())

    from flows.engine.recorder import run_alone

    with FlowRunContext.model_construct():
        assert FlowRunContext.get() is not None
        run_alone(prefect.flow(recipe), ())
    assert seen == [None]


@pytest.mark.parametrize(
    ("url", "is_on_this_machine"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost/api", True),
        ("https://LOCALHOST:1/api", True),
        ("http://[::1]:4200/api", True),
        ("http://127.8.9.1/api", True),
        ("http://localhost.example.org/api", False),
        ("http://10.0.0.1/api", False),
        ("https://api.prefect.cloud/api", False),
        ("http://[::1/api", False),
        ("", False),
    ],
)
def test_an_address_of_this_machine_is_known(url, is_on_this_machine):
    assert is_loopback(url) == is_on_this_machine


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"no_proxy": "a.org"}, {}),  # no proxy: nothing to change, and macOS keeps the proxies of its settings
        ({"http_proxy": "http://p"}, dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost,::1")),
        (
            {"ALL_PROXY": "http://p", "NO_PROXY": "a.org, b.org,"},
            dict.fromkeys(("no_proxy", "NO_PROXY"), "a.org, b.org,127.0.0.1,localhost,::1"),
        ),
        ({"http_proxy": "http://p", "no_proxy": "*"}, {"no_proxy": "*", "NO_PROXY": "*"}),
    ],
)
def test_what_the_user_keeps_from_the_proxy_stays_kept_from_it(given, becomes, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert loopback_without_proxy() == becomes


@pytest.mark.parametrize("command", [["build", "in", "--out", "out"], ["demo"], ["crawl", "--out", "out", "--build"]])
def test_every_command_that_builds_can_do_so_without_prefect(command):
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", command[0], "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert "--no-prefect" in run.stdout


def test_no_prefect_builds_and_starts_nothing(world, monkeypatch, capfd):
    from click.testing import CliRunner

    from flows.cli.command import cli

    monkeypatch.setenv("PREFECT_API_URL", f"{CLOSED}/api")
    arguments = ["build", str(world / "in"), "--out", str(world / "out"), "--set", SETTINGS[0], "--no-prefect"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert (world / "out" / "manifest").is_dir()
    assert not (world / "out" / ".prefect").exists()
    assert said(capfd) == []
