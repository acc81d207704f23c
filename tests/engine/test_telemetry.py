"""Telemetry: what stages and workers did, counted with a clock of the test's own."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from flows.speed.perf_file import plain
from flows.speed.rates import rates_of
from flows.speed.telemetry import INPUT, MAX_SAMPLES, ROOM, WORKING, Meter, Telemetry, Work
from flows.workers.lanes import Lanes


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def telemetry(clock):
    return Telemetry(clock)


def test_working_and_waiting_are_told_apart_and_what_is_inside_counts_once(telemetry, clock):
    meter = telemetry.stage("transcribe")
    with meter.waiting(INPUT):
        clock.now += 1
    with meter.working():
        clock.now += 10
        with meter.waiting(ROOM):
            clock.now += 4
        clock.now += 10
    clock.now += 100  # between two shards: neither
    worker = telemetry.snapshot()["transcribe"].workers["main"]
    assert (worker.waiting_for_input_s, worker.working_s, worker.waiting_for_room_s) == (1, 20, 4)
    assert telemetry.snapshot()["transcribe"].working_share == pytest.approx(20 / 25)


def test_x_real_time_is_that_of_all_workers_together_while_they_work(telemetry, clock):
    for worker in ("gpu 0", "gpu 1"):
        meter = telemetry.stage("transcribe", worker)
        with meter.working():
            clock.now += 10
            meter.done(audio_s=300.0)
        with meter.waiting(INPUT):
            clock.now += 90
    assert telemetry.snapshot()["transcribe"].x_real_time == pytest.approx(60)
    assert telemetry.snapshot()["transcribe"].num_items == 2


def test_what_was_done_in_nobodys_time_makes_no_stage_faster(telemetry, clock):
    """As of a cluster: a tenth of the recordings are classified by workers, the others were when they were decoded."""
    telemetry.stage("classify").done(audio_s=5400.0, num_items=18)
    for worker in ("node 1", "node 2"):
        telemetry.add("classify", worker, Work(num_items=1, audio_s=300.0, seconds={WORKING: 10.0}))
    speed = telemetry.snapshot()["classify"]
    assert (speed.num_items, speed.audio_s, speed.working_s) == (20, 6000.0, 20.0)
    assert speed.x_real_time == pytest.approx(60)
    build = {"settings": {}, "stages": [plain(speed)]}
    found = rates_of([build], {}, "of this dataset")["classify"]
    assert (found.x_real_time, found.num_items, found.num_workers) == (pytest.approx(30), 2, 2)
    assert found.seconds_an_item == pytest.approx(10)


def test_an_open_block_counts_until_now(telemetry, clock):
    meter = telemetry.stage("classify")
    with meter.working():
        clock.now += 5
        assert telemetry.snapshot()["classify"].working_s == 5
        clock.now += 5
    assert telemetry.snapshot()["classify"].working_s == 10


def test_an_error_inside_ends_the_block(telemetry, clock):
    meter = telemetry.stage("classify")

    def work():
        with meter.working():
            clock.now += 5
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    clock.now += 5
    assert telemetry.snapshot()["classify"].working_s == 5


def test_rejections_failures_and_what_is_not_done_are_counted_by_their_reasons(telemetry):
    meter = telemetry.stage("segment")
    meter.done(audio_s=1.0)
    meter.done(audio_s=1.0, rejected="no_solo_piano")
    meter.done(num_items=2, rejected="no_solo_piano")
    meter.done(failed="not_audio", num_bytes=7)
    meter.not_done("io_error")
    seen = telemetry.snapshot()["segment"]
    assert (seen.rejected, seen.failed, seen.not_done) == ({"no_solo_piano": 3}, {"not_audio": 1}, {"io_error": 1})
    assert (seen.num_items, seen.audio_s, seen.num_bytes) == (5, 2.0, 7)


def test_what_is_expected_grows_as_it_becomes_known(telemetry):
    telemetry.expect("ingest", 10, 600.0, num_done_before=3)
    telemetry.expect("ingest", 5, 300.0)
    seen = telemetry.snapshot()["ingest"]
    assert (seen.num_expected, seen.audio_expected_s, seen.num_done_before) == (15, 900.0, 3)
    assert not seen.is_complete
    telemetry.complete("ingest")
    assert telemetry.snapshot()["ingest"].is_complete


def count_elsewhere(num_items: int):
    meter = Meter()
    with meter.working():
        for _ in range(num_items):
            meter.done(audio_s=2.0, rejected="too_quiet")
    return meter.take(), meter.take()


def test_a_process_sends_what_it_took_and_nothing_is_counted_twice(telemetry):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        first, nothing = pool.submit(count_elsewhere, 3).result()
    assert (first.num_items, first.rejected, nothing.num_items) == (3, {"too_quiet": 3}, 0)
    assert pickle.loads(pickle.dumps(first)) == first
    telemetry.add("ingest", "process 1", first)
    telemetry.add("ingest", "process 1", first)
    seen = telemetry.snapshot()["ingest"].workers["process 1"]
    assert (seen.num_items, seen.audio_s) == (6, 12.0)
    assert seen.working_s == 2 * first.seconds[WORKING]


def test_threads_may_share_it(telemetry):
    def work(name: str) -> None:
        for _ in range(1000):
            telemetry.stage("measure", name).done(1.0)
            telemetry.stage("measure", "shared").done(1.0)

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.snapshot()["measure"].num_items == 8000
    assert telemetry.snapshot()["measure"].workers["shared"].num_items == 4000


def test_queues_are_sampled_over_time_and_the_samples_stay_few(telemetry, clock):
    telemetry.queue("classify", 3, 8)
    telemetry.sample()
    telemetry.sample()  # too early
    clock.now += 5
    telemetry.queue("classify", 8, 8)
    telemetry.sample(lambda: {"gpus": [97]})
    assert [sample["queues"] for sample in telemetry.samples] == [{"classify": 3}, {"classify": 8}]
    assert (telemetry.samples[1]["at_s"], telemetry.samples[1]["gpus"]) == (5.0, [97])
    for _ in range(10_000):
        clock.now += 60
        telemetry.sample()
    assert MAX_SAMPLES / 2 <= len(telemetry.samples) <= MAX_SAMPLES
    assert telemetry.samples[0]["at_s"] == 0.0
    assert telemetry.samples[-1]["at_s"] > 0.9 * telemetry.seconds


def test_lanes_wait_for_input_before_their_first_stage_and_for_room_after_their_last(telemetry, clock):
    """Four items; the first lane takes a second each, the second a hundred. Time passes only where a lane works."""

    def work(name: str, seconds: float):
        def one(item: int) -> None:
            with telemetry.stage(name).working():
                clock.now += seconds

        return one

    ends = [("screen", "download"), ("transcribe", "measure")]
    line = Lanes([work("screen", 1), work("transcribe", 100)], ["a", "b"], waits=telemetry.lanes(ends))
    telemetry.queue_of("transcribe", line.channels[1].__len__, 2)
    assert list(line.run(range(1, 5))) == [1, 2, 3, 4]
    seen = telemetry.snapshot()
    assert (seen["transcribe"].queue, seen["transcribe"].queue_room) == (0, 2)
    assert (seen["transcribe"].working_s, seen["measure"].working_s) == (400, 0)
    waited = [seen[name].workers["main"] for name in ("screen", "download", "transcribe", "measure")]
    assert all(one.waiting_for_input_s + one.waiting_for_room_s <= 404 for one in waited)
    assert waited[1].waiting_for_input_s == waited[3].waiting_for_input_s == 0  # a lane waits where it begins
    assert waited[0].waiting_for_room_s == waited[2].waiting_for_room_s == 0  # and where it ends
