"""A run of a deployment does what the command does. Runs are made by a real Prefect server from `prefect.yaml`, and
carried out as a worker's process does it; the networks are the stand-ins of `fakes`."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import melody, use_fakes, write_audio
from places import ROOT
from web_server import Site

from aria_data.errors import ConfigInvalid, UsageError
from aria_data.manifest import Manifest
from flows.cli.jobs import run_build, run_crawl
from flows.engine.prefect_api import temporary_api
from flows.fetch import fetch

SHORT = ["segment.min_segment_s=5"]
DEPLOYMENTS = {each["name"]: each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


@pytest.fixture(scope="module")
def server(prefect_home, tmp_path_factory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("server") / ".prefect"
    shutil.copytree(prefect_home, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        with temporary_api(home):
            yield


@pytest.fixture
def run(server, monkeypatch):
    """Make a run of a deployment of prefect.yaml, through the server, and carry it out in this process."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)

    def carry_out(name: str, **parameters: Any) -> Any:
        described = DEPLOYMENTS[name]
        recipe = load_flow_from_entrypoint(described["entrypoint"])
        given = {**described["parameters"], **parameters}
        with get_client(sync_client=True) as client:
            deployment = client.create_deployment(
                client.create_flow(recipe), name, parameters=given, entrypoint=described["entrypoint"]
            )
            made = client.create_flow_run_from_deployment(deployment)
        return run_flow(recipe, flow_run=made, return_type="state")

    return carry_out


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    """A dataset of two recordings of 8 s, which the default settings would leave out, and one more recording."""
    use_fakes(monkeypatch)
    for number in range(2):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(8 + number))
    run_build(tmp_path / "in", tmp_path / "out", settings=SHORT, with_prefect=False)
    write_audio(tmp_path / "in" / "2.wav", melody(10))
    return tmp_path


def toml_of(world: Path) -> dict[str, Any]:
    return tomllib.loads((world / "out" / "dataset.toml").read_text())


def test_a_run_without_config_builds_with_the_datasets_settings_and_leaves_them(world, run):
    before = (world / "out" / "dataset.toml").read_bytes()
    state = run("build-dataset", source=str(world / "in"), out=str(world / "out"))
    assert state.is_completed()
    assert len(Manifest(world / "out").rows()) == 3
    assert (world / "out" / "dataset.toml").read_bytes() == before


def test_the_settings_of_a_run_change_what_they_name_and_nothing_else(world, run):
    before = toml_of(world)
    settings = ["segment.max_gap_s=1.5", "release.exclude=[]"]
    assert run("build-dataset", source=str(world / "in"), out=str(world / "out"), settings=settings).is_completed()
    assert len(Manifest(world / "out").rows()) == 3
    assert toml_of(world) == {**before, "segment": {**before["segment"], "max_gap_s": 1.5}}


def test_a_run_gives_what_the_command_gives(world, run, tmp_path_factory):
    other = tmp_path_factory.mktemp("command")
    by_command = run_build(world / "in", other / "out", settings=SHORT, with_prefect=False)
    assert run("build-dataset", source=str(world / "in"), out=str(world / "out")).is_completed()
    names = ("segment_id", "audio_sha256", "midi_sha256", "start_s", "end_s", "split", "in_pruned")
    rows = [[[row[name] for name in names] for row in Manifest(each / "out").rows()] for each in (world, other)]
    assert by_command.num_files == len(rows[0]) == 3
    assert sorted(rows[0]) == sorted(rows[1])


@pytest.mark.parametrize(
    ("parameters", "error", "says"),
    [
        ({"settings": ["segment.min_segment=5"]}, ConfigInvalid, "unknown key 'min_segment'"),
        ({"settings": ["segments.max_gap_s=1"]}, ConfigInvalid, "segments"),
        ({"engine": "local", "workers": 3}, UsageError, "--workers"),
        ({"source": "no/such/folder"}, UsageError, "is not a folder"),
    ],
)
def test_a_run_that_asks_for_nonsense_fails_as_the_command_does(parameters, error, says, world, run):
    before = (world / "out" / "dataset.toml").read_bytes()
    state = run("build-dataset", **{"source": str(world / "in"), "out": str(world / "out"), **parameters})
    assert state.is_failed()
    with pytest.raises(error, match=says):
        state.result()
    assert (world / "out" / "dataset.toml").read_bytes() == before


def test_a_run_that_crawls_and_builds_finds_the_datasets_settings(tmp_path, monkeypatch, run):
    use_fakes(monkeypatch)
    with Site() as site:
        site.add_page("/", "Piano recital, solo piano", ["/a.wav"])
        site.add("/a.wav", write_audio(tmp_path / "a.wav", melody(8)).read_bytes(), "audio/wav")
        asked = [
            f"crawl.seeds={json.dumps([site.address('/')])}", 'web.allow_hosts=["127.0.0.1"]', "web.min_interval_s=0",
            "crawl.min_relevance_score=1", "ingest.min_duration_s=1", *SHORT,
        ]  # fmt: skip
        run_crawl(tmp_path / "out", None, asked, lambda summary: None)
        before = (tmp_path / "out" / "dataset.toml").read_bytes()
        assert run("crawl-and-build", out=str(tmp_path / "out"), seeds=[], settings=[]).is_completed()
        assert len(Manifest(tmp_path / "out").rows()) == 1
        assert (tmp_path / "out" / "dataset.toml").read_bytes() == before
        values = toml_of(tmp_path)
        seeds = [site.address("/"), site.address("/more")]
        assert run("crawl-and-build", out=str(tmp_path / "out"), seeds=seeds, settings=[]).is_completed()
    assert toml_of(tmp_path) == {**values, "crawl": {**values["crawl"], "seeds": seeds}}


def test_a_run_that_crawls_without_a_seed_fails_as_the_command_does(tmp_path, run):
    state = run("crawl-and-build", out=str(tmp_path / "out"), seeds=[], settings=[])
    with pytest.raises(UsageError, match="name a seed"):
        state.result()


def test_a_fetch_without_config_takes_the_datasets_settings(tmp_path):
    with Site() as site:
        site.add_page("/", "Piano recital, solo piano", ["/a.wav"])
        site.add("/a.wav", write_audio(tmp_path / "a.wav", melody(8)).read_bytes(), "audio/wav")
        seeds = json.dumps([site.address("/")])
        asked = [f"crawl.seeds={seeds}", 'web.allow_hosts=["127.0.0.1"]', "web.min_interval_s=0"]
        run_crawl(tmp_path / "out", None, [*asked, "crawl.min_relevance_score=1"], lambda summary: None)
        assert fetch(tmp_path / "out").num_fetched == 1
