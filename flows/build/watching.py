"""Watch a build while it runs: show its progress, sample its queues and GPUs, keep what was measured in `perf.json`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from aria_data.errors import DatasetError
from flows.build.provenance import code
from flows.engine.context import BuildContext
from flows.show import Progress
from flows.speed.expected import TimeLeft, shares_of, shipped_shares
from flows.speed.listeners import Followed, followed
from flows.speed.machine import gpu_use, machine
from flows.speed.perf_file import PerfLog, read_builds
from flows.speed.rates import alike, rates_of, shipped_rates
from flows.speed.telemetry import Telemetry

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def watched(
    context: BuildContext, telemetry: Telemetry, progress: Progress, command: str, price_per_hour: float = 0.0
) -> Iterator[None]:
    """Show and record what the block does, which `telemetry` counts; `command` is build or fetch.

    `price_per_hour` is what the machines cost in dollars; 0: not known.
    """
    build = Followed(command, telemetry.snapshot, lambda: telemetry.seconds, lambda: money_of(context), price_per_hour)
    log = PerfLog(
        context.root,
        context.run_id,
        telemetry.snapshot,
        telemetry.samples,
        facts=lambda: facts_of_speed(context, command),
        money=build.money,
        machine_dollars=build.machine_dollars,
    )

    def sample() -> None:
        telemetry.sample(_gpus)
        log.write_now_and_then()

    with ExitStack() as stack:
        stack.enter_context(log.recording())
        stack.enter_context(followed(build))
        time_left = time_left_of(context.root, facts_of_speed(context, command)["settings"])
        stack.enter_context(progress.watch(telemetry.snapshot, time_left, sample))
        yield


def facts_of_speed(context: BuildContext, command: str) -> dict[str, Any]:
    """What a build's speed depends on, besides its machine: code, models, where they run, who reads titles."""
    config = context.config
    return {
        "command": command,
        "engine": context.executor.name,
        "code": _code(),
        "settings": {
            "transcriber": config.transcribe.transcriber,
            "second_transcriber": config.measure.second_transcriber,
            "scorer": config.screen.scorer,
            "annotator": config.annotate.annotator,
            "threads": context.num_threads,
            **asdict(context.compute),
        },
    }


def time_left_of(root: Path, settings: Mapping[str, Any]) -> TimeLeft:
    """What says how long the rest of a build takes: by earlier builds on this machine, else by what is shipped."""
    builds = read_builds(root)
    here = alike(builds, machine())
    rates = shipped_rates(settings["transcriber"], machine())
    return TimeLeft({**rates, **rates_of(here, settings, "of this dataset")}, {**shipped_shares(), **shares_of(builds)})


_code = functools.cache(code)


def money_of(context: BuildContext) -> list[dict[str, Any]]:
    """What language models cost in this run, by model and task; empty where none was asked."""
    for name in ("llm", "annotator"):  # both write into one ledger
        model = context.__dict__.get(name)
        if model is not None:
            try:
                spent = model.ledger.table(context.run_id)
            except DatasetError:
                return []
            return [
                {
                    "model": one.model,
                    "task": one.task,
                    "requests": one.num_requests,
                    "prompt_tokens": one.prompt_tokens,
                    "completion_tokens": one.completion_tokens,
                    "dollars": one.picodollars / 1e12,
                }
                for one in spent
            ]
    return []


def _gpus() -> dict[str, Any]:
    return {"gpus": gpu_use()} if machine()["gpus"] else {}


def timed(name: str) -> Callable[[Method], Method]:
    """Count the time of a method of `Build`, which is no stage, as work of that name on all candidates."""

    def wrap(method: Method) -> Method:
        @functools.wraps(method)
        def body(build: Any, *arguments: Any) -> Any:
            meter = build.telemetry.stage(name)
            with meter.working():
                result = method(build, *arguments)
            meter.done(num_items=len(build.candidates))
            build.telemetry.complete(name)
            return result

        return body  # type: ignore[return-value]

    return wrap
