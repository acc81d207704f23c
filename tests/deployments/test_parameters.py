"""What Prefect's page asks for: every parameter with a title, a description and limits; runs that wait their turn."""

from __future__ import annotations

import threading
import typing

import pytest
import yaml
from fakes import melody, write_audio
from places import ROOT
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

from aria_data.errors import DatasetLocked, DatasetNotFound
from aria_data.pruning.selection import METHODS
from aria_data.storage import exclusive_lock
from flows.deployments import parameters, recipes, turns
from flows.deployments.run_page import shown
from flows.deployments.turns import in_turn

DEPLOYED = {each["name"]: each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
FLOWS = {name: load_flow_from_entrypoint(each["entrypoint"]) for name, each in DEPLOYED.items()}


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_person_finds_a_title_and_a_description_for_each_parameter(name):
    for parameter, schema in FLOWS[name].parameters.properties.items():
        assert schema["title"] != parameter
        assert schema["title"][0].isupper()
        assert len(schema["description"]) > 8, parameter


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_parameters_of_prefect_yaml_are_those_of_its_flow(name):
    given = {key: "/data" if "{{" in str(value) else value for key, value in DEPLOYED[name]["parameters"].items()}
    assert FLOWS[name].validate_parameters(given)
    assert set(FLOWS[name].parameters.required) <= given.keys()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("build-dataset", {"source": "in", "out": ""}),
        ("build-dataset", {"source": "in", "out": "{{ $ARIA_DATA_FOLDER }}/dataset"}),  # it was not set
        ("build-dataset", {"source": "in", "out": "out", "engine": "dask"}),
        ("build-dataset", {"source": "in", "out": "out", "batch_size": -1}),
        ("rebuild", {"out": "out", "gpus_per_worker": 0}),
        ("rebuild", {"out": "out", "settings": "segment.min_segment_s=20"}),
        ("select-subset", {"out": "out", "name": "Third"}),
        ("select-subset", {"out": "out", "name": "third", "unit": "hours"}),
        ("select-subset", {"out": "out", "name": "third", "amount": -0.5}),
        ("crawl-and-build", {"out": "out", "price_per_hour": float("inf")}),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_the_run_begins(name, given):
    with pytest.raises(ParameterTypeError):
        FLOWS[name].validate_parameters(given)


def test_the_methods_are_those_that_there_are():
    (choices, _) = typing.get_args(parameters.Method)
    assert typing.get_args(choices) == METHODS


def test_a_run_waits_for_the_one_that_works_in_its_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "ASK_EVERY_S", 0.01)
    begun, asked = threading.Event(), []

    def hold():
        with exclusive_lock(tmp_path / ".lock"):
            begun.set()
            while len(asked) < 3:
                pass

    def work():
        asked.append(1)
        with exclusive_lock(tmp_path / ".lock"):
            return "done"

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait()
    assert in_turn(work, 10.0) == "done"
    holder.join()


def test_a_run_that_may_not_wait_fails_at_once_with_what_to_do(tmp_path):
    def work():
        with exclusive_lock(tmp_path / ".lock"):
            pass

    with exclusive_lock(tmp_path / ".lock"), pytest.raises(DatasetLocked, match="another"):
        in_turn(work, 0.0)


def test_a_rebuild_of_nothing_says_so(tmp_path):
    with pytest.raises(DatasetNotFound, match="Run build-dataset first"):
        recipes.rebuild.fn(str(tmp_path / "out"))


def test_a_plan_of_a_run_changes_nothing(tmp_path, build):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    build(tmp_path / "in", tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    settings = ("segment.min_segment_s=6",)
    state = recipes.rebuild.fn(str(tmp_path / "out"), settings, dry_run=True)
    assert state.message == "a plan: nothing was changed"
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


def test_outside_of_a_run_there_is_no_page_to_show_anything_on():
    assert shown(lambda: 1 / 0) is None
