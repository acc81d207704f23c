"""What a plan costs: speeds and their sources, other machines, language models; and how it is printed."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from fakes import melody, use_fakes, write_audio
from rich.console import Console

from aria_data.errors import ConfigInvalid
from flows.cli.command import cli
from flows.plan.cluster import Cluster, Machine, like_this_one, read_cluster
from flows.plan.costs import Speed, dollars_of, speed_here, wall_time, with_times
from flows.show.plan_table import print_plan
from flows.show.summaries import Plan, PlannedStage
from flows.speed.machine import gpu_use, machine
from flows.speed.rates import Rate

SETTINGS = {"transcriber": "transkun", "second_transcriber": "", "scorer": "rules", "annotator": "rules",
            "device": "auto"}  # fmt: skip


def rate(x_real_time: float = 0.0, seconds_an_item: float = 1.0) -> Rate:
    return Rate(seconds_an_item, 1 / x_real_time if x_real_time else 0.0, 1, 10, 1000.0, "a test", 1.5)


def stage(name: str, num: int, audio_s: float = 0.0, most: int = 0, most_s: float = 0.0, **more) -> PlannedStage:
    return PlannedStage(name, 0, num, audio_s, num, audio_s, max(num, most), max(audio_s, most_s), **more)


STAGES = [stage("classify", 100, 36_000.0), stage("transcribe", 100, 36_000.0, most_s=72_000.0)]
SPEED = Speed({"classify": rate(100.0), "transcribe": rate(10.0)}, parallelism=1.0, idle_s=40.0, has_gpu=False)


def entry(x_real_time: float, transcriber: str = "transkun", of=None) -> dict:
    settings = SETTINGS | {"transcriber": transcriber}
    stages = [{"stage": "transcribe", "num_items": 4, "num_expected": 4, "num_done_before": 0, "audio_s": 1000.0,
               "working_s": 1000.0 / x_real_time, "workers": {"main": {}}}]  # fmt: skip
    return {"run_id": str(x_real_time), "is_finished": True, "wall_s": 1.0, "machine": of or machine(),
            "settings": settings, "stages": stages}  # fmt: skip


def note(folder, *builds) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "perf.json").write_text(json.dumps({"format": 1, "builds": builds}))


def test_speeds_are_those_of_the_dataset_then_of_datasets_beside_it_then_as_shipped(tmp_path):
    root = tmp_path / "mine"
    assert "measured on" in speed_here(root, SETTINGS).rates["ingest"].basis
    note(tmp_path / "other", entry(20.0))
    found = speed_here(root, SETTINGS).rates["transcribe"]
    assert (found.x_real_time, found.basis) == (pytest.approx(20.0), "1 build of datasets beside this one")
    note(root, entry(30.0), entry(30.0))
    found = speed_here(root, SETTINGS).rates["transcribe"]
    assert (found.x_real_time, found.basis) == (pytest.approx(30.0), "2 builds of this dataset")


def test_what_another_machine_or_another_model_measured_does_not_count(tmp_path):
    note(tmp_path / "mine", entry(999.0, of=machine() | {"cores": 512}), entry(999.0, transcriber="bytedance"))
    assert speed_here(tmp_path / "mine", SETTINGS).rates["transcribe"].x_real_time < 100
    assert "transcribe" not in speed_here(tmp_path / "none", SETTINGS | {"transcriber": "new"}).rates


def test_the_time_is_the_work_at_its_speed_and_the_most_is_that_of_the_most_work():
    wall = wall_time(STAGES, 100, SPEED, like_this_one(1, None))
    assert wall.expected == pytest.approx(360 + 3600 + 40)
    assert wall.low < wall.expected < wall.high
    assert wall.at_most == pytest.approx(360 + 7200 + 40)
    assert [one.seconds for one in with_times(STAGES, SPEED)] == pytest.approx([360, 3600])


def test_so_many_machines_share_the_work_and_cost_their_price_each():
    four = like_this_one(4, 0.5)
    wall = wall_time(STAGES, 100, SPEED, four)
    assert wall.expected == pytest.approx((360 + 3600) / 4 + 40)
    assert dollars_of(four, 1800.0) == pytest.approx(4 * 0.5 / 2)
    assert dollars_of(like_this_one(4, None), 1800.0) is None


def test_machines_of_a_cluster_work_at_the_rates_that_are_stated_and_else_by_their_cores():
    cores = machine()["cores"]
    cluster = Cluster((Machine("big", 2, 8 * cores, 1, 3.0, {"transcribe": 1000.0}),), "two")
    wall = wall_time(STAGES, 100, SPEED, cluster)
    assert wall.expected == pytest.approx(36_000 / 2000 + 36_000 / (100 * 16) + 40)


def test_a_cluster_is_read_from_its_file(tmp_path):
    (tmp_path / "c.toml").write_text(
        'name = "eight"\n[[machines]]\nname = "h200"\ncount = 8\ncores = 64\ngpus = 1\nprice_per_hour = 3.5\n'
        "rates = { transcribe = 900.0, classify = 3000 }\n[[machines]]\nprice_per_hour = 1\n"
    )
    cluster = read_cluster(tmp_path / "c.toml", None)
    assert (cluster.name, cluster.count, cluster.gpus, cluster.price_per_hour) == ("eight", 9, 8, 29.0)
    assert read_cluster(tmp_path / "c.toml", 2.0).price_per_hour == 18.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no [[machines]]"),
        ("machines = 3", "names no [[machines]]"),
        ("machines = [3]", "machines[0]: is no table"),
        ("[[machines]]\ncuont = 3", "unknown key 'cuont'. Did you mean 'count'?"),
        ("[[machines]]\ncount = 0", "count is at least 1"),
        ("[[machines]]\ncount = 1.5", "is not of type int"),
        ("[[machines]]\nprice_per_hour = -1", "price_per_hour = -1: is no price"),
        ("[[machines]]\nprice_per_hour = nan", "is no price"),
        ("[[machines]]\nrates = 3", "rates: is a table"),
        ("[[machines]]\nrates = { segment = 3 }", "rates.segment = 3"),
        ("[[machines]]\nrates = { transcribe = 0 }", "rates.transcribe = 0: a number above 0"),
        ("prize = 3\n[[machines]]", "unknown key 'prize'"),
        ("[[machines", "is no TOML"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line_that_names_what_is_wrong(tmp_path, text, says):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigInvalid) as raised:
        read_cluster(tmp_path / "c.toml", None)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_gpus_whose_speed_nobody_measured_have_to_be_described():
    with pytest.raises(ConfigInvalid, match="rates = { transcribe"):
        wall_time(STAGES, 100, SPEED, Cluster((Machine("h200", 1, 16, 8),), "one"))


def shown(plan: Plan) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_plan(plan, console)
    return console.file.getvalue()


def test_a_plan_is_printed_on_80_columns_with_the_source_of_every_number():
    stages = [
        stage("ingest", 12, 3600.0, seconds=18.0, basis="2 builds of this dataset"),
        stage("transcribe", 1_234_567, 4.1e8, 9_999_999, 9e8, seconds=8e7, basis="2 builds of this dataset",
              estimate="1,000,000 recordings of this dataset: 61% have piano"),
    ]  # fmt: skip
    plan = Plan(
        stages, True, 8e7, 6e7, 1e8, 2e8, "eight machines of a kind that has a long name (8 x h200)", 12345.6, None
    )
    text = shown(plan)
    assert max(map(len, text.splitlines())) <= 80
    assert "about 1,234,567" in text
    flat = " ".join(text.split())
    assert "about 926 days (694 days to 1157 days), at most 2315 days" in flat
    assert "Machines: 12,345.60" in flat
    assert "estimate by 1,000,000 recordings of this dataset: 61% have piano" in flat
    assert "Speed of ingest, transcribe: 2 builds of this dataset." in flat


def test_a_stage_without_a_speed_is_said_and_the_others_are_told():
    plan = Plan(
        [stage("ingest", 1, seconds=5.0), stage("transcribe", 1)], True, None, None, None, None, "here", None, None
    )
    flat = " ".join(shown(plan).split())
    assert "the speed of transcribe was never measured with these settings" in flat
    assert "all other stages take about 5 s" in flat


@pytest.fixture
def dataset(tmp_path, build):
    write_audio(tmp_path / "in" / "Chopin - Nocturne.wav", melody(8))
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_the_command_plans_and_writes_nothing(dataset, tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    write_audio(tmp_path / "more" / "Satie.wav", melody(8, 3))
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    run = CliRunner().invoke(cli, ["plan", str(dataset), str(tmp_path / "more"), "--price-per-hour", "2", "--json"])
    assert run.exit_code == 0, run.output
    plan = json.loads(run.stdout.splitlines()[-1])
    assert {one["name"]: one["num_expected"] for one in plan["stages"]}["ingest"] == 1
    assert plan["dollars_machines"] == pytest.approx(plan["seconds"] * 2 / 3600)
    run = CliRunner().invoke(cli, ["plan", str(dataset), "--workers", "4"])
    assert "Nothing is to be done" in run.output
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_what_cannot_be_planned_is_refused_in_one_line(dataset, tmp_path):
    for arguments, says in (
        ([str(tmp_path / "typo")], "holds no dataset"),
        ([str(dataset), "--workers", "2", "--cluster", "c.toml"], "name one of them"),
        ([str(dataset), "--cluster", str(tmp_path / "c.toml")], "cannot be read"),
        ([str(dataset), str(tmp_path / "nothing")], "is not a folder"),
    ):
        run = CliRunner().invoke(cli, ["plan", *arguments])
        assert says in str(run.exception), (arguments, run.output, run.exception)
    assert not (tmp_path / "typo").exists()


def test_a_language_model_is_forecast_and_not_asked_and_its_ledger_stays_as_it_is(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # nobody answers there
    use_fakes(monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    settings = ("annotate.annotator=llm", "llm.model=some", "llm.input_price=1", "llm.output_price=2")
    arguments = [part for setting in settings for part in ("--set", setting)]
    run = CliRunner().invoke(cli, ["plan", str(dataset), *arguments, "--json"])
    assert run.exit_code == 0, (run.output, run.exception)
    plan = json.loads(run.stdout.splitlines()[-1])
    assert plan["models"][0].startswith("annotate: 1 titles, 0 answered before: 1 requests")
    assert plan["dollars_models"] > 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_gpus_are_asked_for_by_their_program_and_are_none_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H200, 97, 1200, 143771'\necho '1, NVIDIA H200, [N/A], 3, 143771'\n")
    program.chmod(0o755)
    assert [(one["name"], one["busy_percent"], one["memory_mb"]) for one in gpu_use()] == [
        ("NVIDIA H200", 97, 143771),
        ("NVIDIA H200", None, 143771),
    ]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert gpu_use() == []
