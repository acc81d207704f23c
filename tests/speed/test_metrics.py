"""Prometheus asks a build that runs, over a real socket; the dashboard draws only what there is."""

from __future__ import annotations

import json
import re
import socket
import urllib.request

import pytest
import yaml
from fakes import melody, write_audio
from pages import blocks_of, commands_of
from places import ROOT
from prometheus_client.parser import text_string_to_metric_families

from aria_data.errors import UsageError
from flows.engine.orders import Engine
from flows.show.summaries import StageSpeed, WorkerSpeed
from flows.speed.listeners import Followed
from flows.speed.metrics import METRICS, PREFIX, samples_of, serving_metrics
from flows.speed.perf_file import read_builds

DASHBOARD = ROOT / "docs" / "grafana.json"


def asked(address: str) -> dict[tuple[str, str], float]:
    """The values by metric and stage, summed over the other labels."""
    values: dict[tuple[str, str], float] = {}
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                key = (sample.name.removeprefix(PREFIX), sample.labels.get("stage", ""))
                values[key] = values.get(key, 0.0) + sample.value
    return values


def test_a_build_that_runs_tells_prometheus_what_it_does(tmp_path, build, monkeypatch):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF" + bytes(40))
    told = []
    with serving_metrics(0) as address:
        monkeypatch.setattr("flows.build.assemble.Build.prune", during(told, address))
        build(tmp_path / "in", tmp_path / "out", engine=Engine(price_per_hour=3600.0))
        afterwards = asked(address)
    (values,) = told
    assert values["build_running", ""] == 1
    assert values["items_total", "ingest"] == values["items_expected", "ingest"] == 2
    assert values["items_total", "transcribe"] == 1
    assert values["audio_seconds_total", "transcribe"] == pytest.approx(8.0, abs=0.5)
    assert values["failed_total", "ingest"] + values.get(("rejected_total", "ingest"), 0.0) == 1
    assert values["x_real_time", "transcribe"] > 0
    assert values["worker_seconds_total", "transcribe"] > 0
    assert ("queue_depth", "ingest") in values
    assert values["machine_dollars_total", ""] == pytest.approx(values["build_seconds", ""], rel=0.2)
    assert ("build_running", "") not in afterwards
    assert read_builds(tmp_path / "out")[-1]["machine_dollars"] > 0


def during(told, address):
    from flows.build.assemble import Build

    prune = Build.prune

    def asked_first(self):
        told.append(asked(address))
        prune(self)

    return asked_first


def test_nobody_listens_unless_it_was_asked_for_and_a_port_that_is_taken_is_said_by_name(tmp_path, build):
    from flows.speed import listeners

    assert listeners._listeners == []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--metrics {port}: .*another port"), serving_metrics(port):
            pass
    assert listeners._listeners == []


def test_the_dashboard_asks_only_for_metrics_that_exist_and_for_all_of_them():
    kinds = {name: kind.__name__ for name, (kind, _, _) in METRICS.items()}
    exported = {f"{PREFIX}{name}{'_total' if kind.startswith('Counter') else ''}" for name, kind in kinds.items()}
    named = {name for query in queries() for name in re.findall(rf"\b{PREFIX}\w+", query)}
    assert named == exported


def test_the_labels_that_the_dashboard_splits_by_are_those_of_its_metrics():
    labels = {PREFIX + name: set(each) for name, (_, _, each) in METRICS.items()}
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            (first, *_) = re.findall(rf"\b{PREFIX}\w+", target["expr"])
            of_metric = labels[first.removesuffix("_total")]
            by = {one for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for one in group.split(", ")}
            assert by | set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= of_metric, target


def stage_of(name: str, audio_s: float, num_expected: int = 1, **told) -> StageSpeed:
    """A stage that has worked for a second on `audio_s` of audio."""
    workers = {"main": WorkerSpeed(1, audio_s, 1.0, 0.0, 0.0)}
    return StageSpeed(name, 0, num_expected, audio_s, False, 0.0, 1.0, workers, **told)


def build_of(*stages: StageSpeed) -> Followed:
    money = [{"model": "m", "task": "screen", "dollars": 0.5}]
    return Followed(
        "build", lambda: {one.name: one for one in stages}, lambda: 1.0, lambda: money, price_per_hour=3600.0
    )


def test_every_metric_has_a_value_in_a_build_in_which_all_of_it_happens():
    once = {"x": 1}
    busy = stage_of("download", 10.0, queue=1, queue_room=2, num_bytes=9, rejected=once, failed=once, not_done=once)
    assert all(samples_of(build_of(busy)).values())


def test_a_stage_whose_results_another_one_made_has_no_speed_and_one_that_expects_nothing_has_nothing_to_do():
    samples = samples_of(build_of(stage_of("classify", 70_000.0), stage_of("collect", 0.0, num_expected=0)))
    assert samples["x_real_time"] == []
    assert samples["items_expected"] == [(("classify",), 1.0)]


def test_the_dashboard_looks_at_four_scrapes_at_least_as_docs_deployments_sets_them():
    blocks = blocks_of("docs/deployments.md")
    (config,) = [yaml.safe_load(block.code) for block in blocks if "scrape_configs" in block.code]
    (job,) = config["scrape_configs"]
    (words,) = [words for block in blocks if "--metrics" in block.code for words in commands_of(block)]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{words[words.index('--metrics') + 1]}"]}]
    assert (
        int(job["scrape_interval"].removesuffix("s")) <= 15
    )  # what Grafana's $__rate_interval begins from, four times
    assert set(re.findall(r"\[(.*?)\]", " ".join(queries()))) == {"$__rate_interval", "5m"}


def queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
