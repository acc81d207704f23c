"""Prometheus asks a build that runs, over a real socket; the dashboard draws only what there is."""

from __future__ import annotations

import json
import re
import socket
import urllib.request

import pytest
from fakes import melody, write_audio
from places import ROOT
from prometheus_client.parser import text_string_to_metric_families

from aria_data.errors import UsageError
from flows.engine.orders import Engine
from flows.speed.metrics import METRICS, PREFIX, serving_metrics
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
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    named = {name for query in queries for name in re.findall(rf"\b{PREFIX}\w+", query)}
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
