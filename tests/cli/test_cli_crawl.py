"""The commands that go to the web, as a person types them, against a local site."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from web_server import Site, status

from aria_data.config import load_config
from aria_data.errors import DatasetNotFound, UsageError
from flows.cli.command import cli

HERE = ("--set", 'web.allow_hosts=["127.0.0.1"]', "--set", "web.min_interval_s=0", "--set", "download.backoff_s=0.01")


def aria(*arguments: object, code: int = 0) -> str:
    ended = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ended.exit_code == code, ended.output
    return ended.stdout


@pytest.fixture
def site():
    with Site() as site:
        site.add_page("/", "Recitals", links=["/one", "/two", "/three"])
        site.add_page("/one", "Nocturne for solo piano", ["/one.flac"])
        site.add_page("/two", "Ballade for solo piano", ["/two.flac"])
        site.add_page("/three", "Violin concerto", ["/three.flac"])
        site.add_audio("/one.flac", 8)
        site.route("/two.flac", status(500))
        yield site


def test_crawl_tree_fetch_attempts_and_retry_in_a_row(site, tmp_path):
    dataset = tmp_path / "dataset"
    found = json.loads(aria("crawl", site.address("/"), "--out", dataset, *HERE, "--json"))
    assert (found["num_new"], found["num_accepted"], found["stopped_by"]) == (3, 2, "frontier")
    assert not site.hits["/one.flac"]
    assert load_config(dataset / "dataset.toml").screen.min_relevance_score == 4

    drawn = aria("tree", dataset)
    assert "Nocturne for solo piano" in drawn
    assert "Violin concerto" not in drawn
    assert "Violin concerto" in aria("tree", dataset, "--rejected")
    assert aria("tree", dataset, "--format", "dot").startswith("digraph crawl {")
    rows = [json.loads(line) for line in aria("tree", dataset, "--format", "json").splitlines()]
    assert sum(len(row["candidates"]) for row in rows) == 2

    fetched = json.loads(aria("fetch", dataset, "--json", code=1))
    assert (fetched["num_fetched"], fetched["kinds"]) == (1, {"network": 1})
    tries = [json.loads(line) for line in aria("attempts", dataset, "--format", "jsonl").splitlines()]
    assert sorted(one["kind"] for one in tries) == ["", "network"]
    assert len(aria("attempts", dataset, "--kind", "network", "--format", "jsonl").splitlines()) == 1

    site.add_audio("/two.flac", 8, number=2)
    assert json.loads(aria("retry", dataset, "--kind", "gone", "--json"))["num_fetched"] == 0
    assert json.loads(aria("retry", dataset, "--kind", "network", "--json"))["num_fetched"] == 1
    again = json.loads(aria("fetch", dataset, "--json"))
    assert (again["num_fetched"], again["num_fetched_before"]) == (0, 2)
    assert site.hits["/one.flac"] == 1


def test_budgets_and_licences_of_the_command_line_hold(site, tmp_path):
    found = json.loads(
        aria("crawl", site.address("/"), "--out", tmp_path / "a", *HERE, "--max-candidates", 1, "--json")
    )
    assert (found["num_new"], found["stopped_by"]) == (1, "candidates")
    found = json.loads(aria("crawl", site.address("/"), "--out", tmp_path / "b", *HERE, "--max-requests", 3, "--json"))
    assert (found["num_requests"], found["stopped_by"]) == (3, "requests")
    aria("crawl", site.address("/"), "--out", tmp_path / "c", *HERE, "--licence", "cc0,pd")
    fetched = json.loads(aria("fetch", tmp_path / "c", "--json"))
    assert fetched["kinds"] == {"licence": 2}
    assert not site.hits["/one.flac"]


def test_who_opted_out_is_neither_crawled_nor_fetched_again(site, tmp_path):
    dataset = tmp_path / "dataset"
    aria("crawl", site.address("/"), "--out", dataset, *HERE)
    aria("fetch", dataset, code=1)
    (audio,) = dataset.glob("audio/*/*.flac")
    said = aria("remove", dataset, "domain:127.0.0.1", "--reason", "asked for")
    assert "is recorded" in said
    assert not audio.exists()
    before = len(site.requests)
    fetched = json.loads(aria("fetch", dataset, "--json"))
    assert (fetched["num_fetched"], fetched["num_fetched_before"]) == (0, 0)
    assert len(site.requests) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["crawl", "--out", "x"], "name a seed"),
        (["crawl", "blah", "--out", "x"], "is no seed"),
        (["crawl", "nosuch:thing", "--out", "x"], "unknown"),
        (["crawl", "http://127.0.0.1/", "--out", "x", "--licence", "free"], "no licence this knows"),
        (["serve", "--out", "x", "--cron", "0 3 * * *"], "name a seed"),
        (["build", "nosuch:thing", "--out", "x"], "unknown"),
    ],
)
def test_wrong_usage_is_one_line_and_makes_nothing(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says) as caught:
        aria(*arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["fetch", "retry", "tree", "attempts", "costs"])
def test_where_nothing_was_crawled_each_command_says_so(tmp_path, command):
    with pytest.raises(DatasetNotFound):
        aria(command, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_every_command_of_the_web_has_help_with_examples():
    for command in ("crawl", "fetch", "retry", "attempts", "tree", "screen", "costs", "serve", "doctor"):
        assert "Examples" in aria(command, "--help")
