"""The progress display: a line a stage, one time for the whole build; on a terminal bars of all stages at once."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from flows.show import progress_bars as module
from flows.show.progress_bars import Progress, about, span
from flows.speed.telemetry import INPUT, Telemetry


def console(is_terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=80, color_system=None, _environ={})


def written(shown: Progress) -> str:
    return shown.console.file.getvalue()


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


def work(telemetry: Telemetry, clock: Clock, name: str, num_items: int = 4, seconds: float = 10.0) -> None:
    meter = telemetry.stage(name)
    with meter.working():
        clock.now += seconds
        meter.done(audio_s=600.0, num_items=num_items)


def test_a_complete_stage_is_one_line_and_is_told_once(telemetry, clock):
    shown = Progress(console())
    telemetry.expect("ingest", 4, 600.0, num_done_before=2)
    telemetry.expect("screen", 0)
    with shown.watch(telemetry.snapshot, lambda stages: None):
        work(telemetry, clock, "ingest")
        telemetry.complete("ingest")
        telemetry.complete("screen")
        shown.tell()
        shown.tell()
    assert written(shown) == "ingest       4/4 in 10.0 s, 60.0x real time, 2 done before\n"


def test_without_a_terminal_long_work_says_now_and_then_how_far_it_is_and_when_all_of_it_ends(
    telemetry, clock, monkeypatch
):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    shown = Progress(console())
    for name in ("classify", "transcribe"):
        telemetry.expect(name, 8, 1200.0)
        work(telemetry, clock, name)
    telemetry.queue("transcribe", 3, 8)
    with shown.watch(telemetry.snapshot, lambda stages: (3600.0, 5400.0)):
        shown.tell()
        lines = written(shown).splitlines()[:3]
    assert lines == [
        "classify     4/8 in 20.0 s, 60.0x real time",
        "transcribe   4/8 in 10.0 s, 60.0x real time, queue 3 of 8",
        "whole build  1 h 00 min to 1 h 30 min left",
    ]


def test_on_a_terminal_every_stage_under_way_has_a_bar_and_the_build_one_time(telemetry, clock):
    shown = Progress(console(is_terminal=True))
    for name in ("classify", "transcribe"):
        telemetry.expect(name, 8, 1200.0)
        work(telemetry, clock, name)
    telemetry.complete("classify")
    with shown.watch(telemetry.snapshot, lambda stages: (3600.0, 3600.0)):
        shown.tell()
        picture = Console(file=io.StringIO(), width=80, color_system=None)
        picture.print(shown._bars())
    rows = [row.rstrip() for row in picture.file.getvalue().splitlines()]
    assert rows[0].startswith("transcribe   ━━━━━━━━━━")
    assert rows[0].endswith("4/8 in 10.0 s, 60.0x real time")
    assert rows[1].startswith("whole build")
    assert rows[1].endswith("about 1 h 00 min left")
    assert "classify     4/8" in written(shown)


def test_work_that_is_counted_by_hand_is_shown_among_the_stages_of_a_build(telemetry, clock):
    shown = Progress(console(is_terminal=True))
    telemetry.expect("transcribe", 8, 1200.0)
    work(telemetry, clock, "transcribe")
    with shown.watch(telemetry.snapshot, lambda stages: None), shown.stage("index notes", 5, 0.0, 2):
        shown.advance(0.0, 3)
        assert list(shown._bars().columns[0].cells) == ["transcribe  ", "index notes "]
    assert "index notes  3/5 in" in written(shown)


def test_the_same_holds_without_a_watched_build(monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    shown = Progress(console())
    with shown.stage("screen", 3, 0.0, 0):
        time.sleep(0.001)
        shown.advance(0.0)
        shown.advance(0.0, 2)
    lines = written(shown).splitlines()
    assert "1/3 in" in lines[0]
    assert lines[0].endswith("left")
    assert "3/3 in" in lines[-1]
    assert len(lines) == 2


def test_a_display_that_fails_does_not_fail_the_build(telemetry):
    shown = Progress(console())

    def broken(stages):
        raise ValueError

    telemetry.expect("ingest", 4)
    telemetry.stage("ingest")
    with shown.watch(telemetry.snapshot, broken, sample=lambda: broken({})):
        time.sleep(0.6)
        telemetry.complete("ingest")
    assert "ingest       0/4" in written(shown)


def test_waiting_does_not_make_a_stage_slow(telemetry, clock):
    meter = telemetry.stage("transcribe")
    telemetry.expect("transcribe", 4, 600.0)
    with meter.waiting(INPUT):
        clock.now += 90
    work(telemetry, clock, "transcribe")
    assert "60.0x real time" in module._note(telemetry.snapshot()["transcribe"])


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.2, "1 s"), (7.3, "7 s"), (43, "45 s"), (58, "1 min"), (200, "3 min"), (43 * 60, "45 min"),
     (58 * 60, "1 h 00 min"), (7_700, "2 h 10 min"), (39_600, "11 h"), (500_000, "6 days")],
)  # fmt: skip
def test_an_estimate_has_no_digit_more_than_it_is_worth(seconds, says):
    assert about(seconds) == says


def test_a_time_that_is_not_known_better_is_a_range():
    assert span(3600, 3600) == "about 1 h 00 min"
    assert span(1800, 7200) == "30 min to 2 h 00 min"
