"""How long the rest of a build takes, told from speeds and shares."""

from __future__ import annotations

import pytest

from flows.speed.expected import Load, Share, TimeLeft, seconds_of, shares_of, shipped_shares
from flows.speed.rates import AFTER, GLOBAL, Rate, rates_of, shipped, shipped_rates
from flows.speed.telemetry import Telemetry

BARE = {"flags": ["avx2"], "gpus": []}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def telemetry(clock):
    return Telemetry(clock)


def rate(seconds_an_item=0.0, x_real_time=0.0, num_workers=1, factor=1.0) -> Rate:
    return Rate(seconds_an_item, 1 / x_real_time if x_real_time else 0.0, num_workers, 1, 1.0, "a test", factor)


def done(telemetry, clock, name, num_items, audio_s, seconds):
    meter = telemetry.stage(name)
    with meter.working():
        clock.now += seconds
        meter.done(audio_s, num_items)


SURE = {name: Share(0.0 if name == "download" else 1.0, 60.0, 1.0) for name in AFTER}


def test_what_is_left_is_the_rest_of_every_stage_at_its_speed(telemetry, clock):
    """100 recordings of a minute; ingest has done half of them, and nothing is known of the others but the shares."""
    for name, num_items in (("screen", 100), ("ingest", 100)):
        telemetry.expect(name, num_items, 0.0 if name == "screen" else 6000.0)
    done(telemetry, clock, "screen", 100, 0.0, 1.0)
    telemetry.complete("screen")
    done(telemetry, clock, "ingest", 50, 3000.0, 100.0)
    rates = {name: rate(0.0, 60.0) for name in AFTER}
    low, high = TimeLeft(rates, SURE)(telemetry.snapshot())
    # ingest is measured (30x real time); the six stages after it take a second a minute each, measured nowhere
    expected = 3000 / 30 + 6 * 100
    assert low < expected < high
    assert high / low < 1.2


def test_what_a_stage_will_still_get_from_the_one_before_counts(telemetry, clock):
    telemetry.expect("ingest", 100, 6000.0)
    done(telemetry, clock, "ingest", 50, 3000.0, 100.0)
    telemetry.expect("classify", 50, 3000.0)
    rates = {name: rate(1.0) for name in AFTER}
    left = TimeLeft(rates, SURE)._loads_left(telemetry.snapshot(), 1)
    assert left["classify"].num_items == pytest.approx(100, rel=0.3)
    assert left["transcribe"].num_items >= left["classify"].num_items * 0.99


def test_what_ends_at_a_stage_is_not_expected_after_it(telemetry, clock):
    """Of 40 recordings one in four has piano: of the 40 still to come, ten."""
    telemetry.expect("segment", 80)
    done(telemetry, clock, "segment", 40, 0.0, 1.0)
    telemetry.expect("transcribe", 10, 600.0)
    done(telemetry, clock, "transcribe", 10, 600.0, 100.0)
    rates = {name: rate(1.0) for name in AFTER}
    low, high = (TimeLeft(rates, SURE)._loads_left(telemetry.snapshot(), sign)["transcribe"] for sign in (-1, 1))
    assert low.num_items < 10 < high.num_items
    assert low.audio_s < 600 < high.audio_s


def test_a_time_is_a_range_as_long_as_shares_are_guessed_and_narrows_when_they_are_known(telemetry, clock):
    time_left = TimeLeft(shipped_rates("transkun", BARE), shipped_shares())
    telemetry.expect("screen", 200)
    assert time_left(telemetry.snapshot()) is None  # whether they are local files or on the web is not known yet
    done(telemetry, clock, "screen", 200, 0.0, 1.0)
    telemetry.complete("screen")
    telemetry.expect("ingest", 200)
    low, high = time_left(telemetry.snapshot())
    assert high / low > 4
    done(telemetry, clock, "ingest", 200, 0.0, 300.0)
    telemetry.complete("ingest")
    for name, num_items, audio_s in (("classify", 190, 45_600.0), ("segment", 190, 0.0)):
        telemetry.expect(name, num_items, audio_s)
        done(telemetry, clock, name, num_items, audio_s, 200.0)
        telemetry.complete(name)
    for name in ("fingerprint", "annotate"):
        telemetry.expect(name, 0)
        telemetry.complete(name)
    telemetry.expect("transcribe", 100, 15_000.0)
    done(telemetry, clock, "transcribe", 90, 13_500.0, 1350.0)
    later_low, later_high = time_left(telemetry.snapshot())
    assert later_low < 150 + 150 < later_high  # the rest of transcribe, and measure
    assert later_high / later_low < high / low
    done(telemetry, clock, "transcribe", 10, 1_500.0, 150.0)
    telemetry.complete("transcribe")
    telemetry.expect("measure", 0)
    telemetry.complete("measure")
    assert time_left(telemetry.snapshot()) is None  # nothing is left


def test_stages_that_work_at_the_same_time_take_less_but_never_less_than_the_slowest():
    loads = {"classify": Load(10, 100.0), "transcribe": Load(10, 100.0)}
    rates = {"classify": rate(0.0, 1.0), "transcribe": rate(0.0, 0.5)}
    assert seconds_of(loads, rates, 1.0) == pytest.approx(300)
    assert seconds_of(loads, rates, 1.2) == pytest.approx(250)
    assert seconds_of(loads, rates, 9.0) == pytest.approx(200)
    assert seconds_of(loads, {**rates, "transcribe": rate(0.0, 0.5, num_workers=4)}, 9.0) == pytest.approx(100)
    assert seconds_of(loads, {}, 1.0) is None
    assert seconds_of({}, {}, 1.0) == 0.0


def stage(name, num_items, audio_s=0.0, working_s=1.0, num_before=0):
    return {"stage": name, "num_items": num_items, "num_expected": num_items, "num_done_before": num_before,
            "audio_s": audio_s, "working_s": working_s, "workers": {"main": {}}}  # fmt: skip


def test_rates_are_of_all_builds_with_the_same_models_and_say_of_how_many():
    settings = {"transcriber": "transkun", "device": "auto"}
    builds = [
        {"settings": settings, "stages": [stage("transcribe", 2, 600.0, 100.0), stage("segment", 2, 0.0, 1.0)]},
        {"settings": settings, "stages": [stage("transcribe", 2, 600.0, 20.0), stage("screen", 0, 0.0, 0.0)]},
        {"settings": settings | {"transcriber": "other"}, "stages": [stage("transcribe", 2, 600.0, 1.0)]},
    ]
    rates = rates_of(builds, settings, "of this dataset")
    assert rates["transcribe"].x_real_time == pytest.approx(10)
    assert rates["transcribe"].basis == "2 builds of this dataset"
    assert (rates["segment"].seconds_an_item, rates["segment"].x_real_time) == (0.5, None)
    assert "screen" not in rates
    assert rates["segment"].factor > rates["transcribe"].factor  # two items are little, twenty minutes are not


def test_shares_are_those_of_the_last_finished_build_that_got_so_far():
    whole = {"is_finished": True, "stages": [stage("screen", 100), stage("download", 0), stage("ingest", 80, 8000.0),
             stage("classify", 0, 0.0, 0.0, 60), stage("segment", 60), stage("transcribe", 30, 900.0)]}  # fmt: skip
    stopped = {"is_finished": False, "stages": [stage("screen", 10), stage("ingest", 1, 7.0)]}
    shares = shares_of([whole, stopped])
    assert (shares["ingest"].items, shares["ingest"].audio_s) == (0.8, 100.0)
    assert (shares["classify"].items, shares["transcribe"].items, shares["transcribe"].audio_s) == (0.75, 0.5, 30.0)
    assert "measure" not in shares


def test_what_is_shipped_names_its_machine_and_has_every_stage():
    for machine in shipped()["machine"]:
        assert machine["name"]
        assert machine["measured"]
        assert machine["stages"].keys() == {*AFTER, *GLOBAL}, machine["name"]
    rates = shipped_rates("transkun", BARE)
    assert "AMD EPYC" in rates["transcribe"].basis
    assert "transcribe" not in shipped_rates("a new one", BARE)
    assert "transcribe" not in shipped_rates("transkun", BARE | {"gpus": ["NVIDIA H200"]})  # not measured there
    fast = shipped_rates("transkun", {"flags": ["avx2", "amx_tile"], "gpus": []})
    assert "AMX" in fast["transcribe"].basis
    assert fast["transcribe"].x_real_time > rates["transcribe"].x_real_time


def test_every_title_that_a_stream_will_read_is_expected_before_it_gets_there(telemetry, clock):
    telemetry.expect("recordings", 1000)
    telemetry.expect("screen", 100)
    done(telemetry, clock, "screen", 50, 0.0, 1.0)
    left = TimeLeft({name: rate(1.0) for name in AFTER}, SURE)._loads_left(telemetry.snapshot(), 1)
    assert left["screen"].num_items == 950
    assert left["transcribe"].num_items >= 950
