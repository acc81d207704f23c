"""What a build does and how fast, as Prometheus asks for it: text at http://127.0.0.1:PORT/metrics while it runs.

Off unless a port is named. Counts begin at 0 with each build. `METRICS` lists every name; docs/grafana.json draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aria_data.errors import UsageError
from flows.show.summaries import MAX_X_REAL_TIME, StageSpeed
from flows.speed.listeners import Followed, listening

HERE = "127.0.0.1"  # what a build does is nobody else's business; a proxy may show it to more
PREFIX = "aria_data_"
COUNTER, GAUGE = CounterMetricFamily, GaugeMetricFamily
METRICS: dict[str, tuple[Any, str, tuple[str, ...]]] = {  # by name: what it is, says, and is split by
    "build_running": (GAUGE, "1 while a build runs.", ("command",)),
    "build_seconds": (GAUGE, "Seconds since the build began.", ()),
    "items": (COUNTER, "Items that a stage has worked on.", ("stage",)),
    "items_expected": (GAUGE, "Items that a stage has to work on, as far as is known.", ("stage",)),
    "items_done_before": (GAUGE, "Items that earlier builds had finished.", ("stage",)),
    "audio_seconds": (COUNTER, "Seconds of audio that a stage has worked on.", ("stage",)),
    "x_real_time": (GAUGE, "Seconds of audio a second of work, of all workers of a stage.", ("stage",)),
    "fetched_bytes": (COUNTER, "Bytes that were fetched.", ("stage",)),
    "queue_depth": (GAUGE, "Shards that wait before a stage.", ("stage",)),
    "queue_room": (GAUGE, "Shards that may wait before a stage.", ("stage",)),
    "worker_seconds": (
        COUNTER,
        "Seconds in which a worker was working, or waited for input or for room.",
        ("stage", "worker", "state"),
    ),
    "rejected": (COUNTER, "Items that a stage rejected.", ("stage", "reason")),
    "failed": (COUNTER, "Items that failed.", ("stage", "reason")),
    "not_done": (COUNTER, "Items that the next build has to try again.", ("stage", "reason")),
    "model_dollars": (COUNTER, "Dollars for language models.", ("model", "task")),
    "machine_dollars": (COUNTER, "Dollars for machines, by --price-per-hour.", ()),
}


@contextmanager
def serving_metrics(port: int) -> Iterator[str]:
    """Answer Prometheus at `port` (0: a free one) of this machine while the block runs; gives the address.

    Raises `UsageError` where the port is taken.
    """
    told = Told()
    registry = CollectorRegistry()
    registry.register(told)
    try:
        server, thread = start_http_server(port, HERE, registry)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--metrics {port}: cannot be listened to ({error}). Choose another port.") from error
    try:
        with listening(told.of):
            yield f"http://{HERE}:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Told(Collector):
    """Gives Prometheus what the build that runs has counted."""

    def __init__(self) -> None:
        self._build: Followed | None = None

    @contextmanager
    def of(self, build: Followed) -> Iterator[None]:
        """A `Listener`."""
        self._build = build
        try:
            yield
        finally:
            self._build = None

    def describe(self) -> Iterable[Metric]:
        """Every metric, without values."""
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        """Every metric as it is now; without values where no build runs."""
        build = self._build
        return self._families({} if build is None else samples_of(build))

    def _families(self, samples: Mapping[str, Iterable[tuple[tuple[str, ...], float]]]) -> Iterator[Metric]:
        for name, (kind, says, labels) in METRICS.items():
            family: Any = kind(PREFIX + name, says, labels=labels)
            for values, number in samples.get(name, ()):
                family.add_metric(values, number)
            yield family


Samples = dict[str, list[tuple[tuple[str, ...], float]]]


def samples_of(build: Followed) -> Samples:
    """The values of each metric, by name: the values of its labels, and a number."""
    samples: Samples = {name: [] for name in METRICS}
    samples["build_running"].append(((build.command,), 1.0))
    samples["build_seconds"].append(((), build.seconds()))
    for stage in build.snapshot().values():
        _add_stage(samples, stage)
    for one in build.money():
        samples["model_dollars"].append(((one["model"], one["task"]), one["dollars"]))
    dollars = build.machine_dollars()
    if dollars is not None:
        samples["machine_dollars"].append(((), dollars))
    return samples


def _add_stage(samples: Samples, stage: StageSpeed) -> None:
    rate = stage.x_real_time
    numbers = {
        "items": stage.num_items,
        "items_expected": stage.num_expected or None,  # what finds the items, as collect, expects none
        "items_done_before": stage.num_done_before,
        "audio_seconds": stage.audio_s,
        "x_real_time": rate if rate is not None and rate <= MAX_X_REAL_TIME else None,
        "fetched_bytes": stage.num_bytes or None,
        "queue_depth": stage.queue,
        "queue_room": None if stage.queue is None else stage.queue_room,
    }
    for name, number in numbers.items():
        if number is not None:
            samples[name].append(((stage.name,), float(number)))
    for name, counts in (("rejected", stage.rejected), ("failed", stage.failed), ("not_done", stage.not_done)):
        samples[name] += [((stage.name, reason), float(count)) for reason, count in counts.items()]
    for worker, speed in stage.workers.items():
        spent = {
            "working": speed.working_s,
            "waiting for input": speed.waiting_for_input_s,
            "waiting for room": speed.waiting_for_room_s,
        }
        samples["worker_seconds"] += [((stage.name, worker, state), seconds) for state, seconds in spent.items()]
