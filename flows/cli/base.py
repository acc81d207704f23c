"""What the commands share: how their help looks, exit codes, options, JSON, lists of titles. No command."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aria_data.storage import json_line, open_root

if TYPE_CHECKING:
    from aria_data.config import BuildConfig
    from aria_data.llm import Forecast, Llm
    from flows.tools.title_lists import ReadMany, Row

DONE, DONE_WITH_FAILURES, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class DatasetPlace(click.Path):
    """A dataset's folder, or its place in an object store, as `s3://bucket/dataset`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value:
            return open_root(value)
        return super().convert(value, param, ctx)


DATASET = DatasetPlace(path_type=Path)


class Examples(click.Command):
    """A command whose help ends with examples, one a line, shown as written."""

    def __init__(self, *arguments: Any, examples: str = "", **settings: Any):
        super().__init__(*arguments, **settings)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


def print_json(value: Any, **settings: Any) -> None:
    """Print one line of JSON, in UTF-8 whatever the terminal's encoding."""
    click.echo(json_line(value, **settings), nl=False)


def compute_options(command: Any) -> Any:
    """Add the options that say where and in how large pieces the transcriber runs."""
    options = (
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="Where the transcriber runs: auto, cpu, cuda, cuda:1, or several with commas between.",
        ),
        click.option(
            "--dtype",
            default="auto",
            show_default=True,
            help="auto (for transkun bfloat16, else int8, where measured to be fast), float32, bfloat16 or int8 (CPU).",
        ),
        click.option("--batch-size", default=0, help="Windows a forward pass; 0: chosen by device."),
        click.option(
            "--threads", default=0, help="Windows transcribed at the same time on a CPU; 0: one a core, at most 16."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def engine_options(command: Any) -> Any:
    """Add the options that say who does the work; the command gets `engine`, the fields of `orders.Engine`."""

    @functools.wraps(command)
    def body(*arguments: Any, **given: Any) -> Any:
        others = ("address", "workers", "gpus_per_worker", "price_per_hour")
        engine = {"name": given.pop("engine"), **{name: given.pop(name) for name in others}}
        return command(*arguments, engine=engine, **given)

    options = (
        click.option(
            "--engine",
            default="local",
            show_default=True,
            help="Who does the work on sound: local, this machine; ray, a cluster (pip install 'aria-data[ray]').",
        ),
        click.option(
            "--address", default="", help="Of the Ray cluster: auto, ray://HOST:10001. Without it, one is started here."
        ),
        click.option("--workers", default=0, help="Ray workers without a GPU; 0: one a core of the cluster."),
        click.option(
            "--gpus-per-worker",
            default=1.0,
            show_default=True,
            help="Share of a GPU that a Ray worker has; 0.5: two share one.",
        ),
        click.option(
            "--price-per-hour", default=0.0, help="Dollars that all machines cost; the build counts what it has cost."
        ),
    )
    for option in reversed(options):
        body = option(body)
    return body


def metrics_option(command: Any) -> Any:
    """Add the option that lets Prometheus ask while the command runs."""

    @functools.wraps(command)
    def body(*arguments: Any, metrics: int | None, **given: Any) -> Any:
        if metrics is None:
            return command(*arguments, **given)
        from flows.speed.metrics import serving_metrics

        with serving_metrics(metrics) as address:
            show_line(f"metrics for Prometheus: {address}")
            return command(*arguments, **given)

    return click.option(
        "--metrics",
        metavar="PORT",
        type=click.IntRange(0, 65_535),
        help="Let Prometheus ask how the build is doing, at this port of this machine; 0: a free one.",
    )(body)


def prefect_option(command: Any) -> Any:
    """Add the option that builds without Prefect; the command gets `prefect`, the arguments for `run_build`."""
    return click.option(
        "--no-prefect",
        "prefect",
        is_flag=True,
        callback=lambda context, option, is_given: {"with_prefect": False} if is_given else {},
        help="Build without Prefect's record of the run, and without its retries.",
    )(command)


@dataclass(frozen=True)
class Reader:
    """Who reads titles, as the options say: the rules or a model, and for how much."""

    who: str
    model: str
    max_dollars: float | None
    input_price: float | None
    output_price: float | None
    ledger: Path | None
    in_batches: bool
    settings: tuple[str, ...]


def llm_options(who: str) -> Callable[[Any], Any]:
    """Add the options that say who reads, and for how much; `who` names the first. The command gets `reader`."""
    choices = ["learned", "rules", "llm"] if who == "scorer" else ["rules", "llm"]
    options = (
        click.option(f"--{who}", "who", type=click.Choice(choices), default=choices[0], show_default=True),
        click.option("--model", default="", help=f"Of the {who} llm; without it, ARIA_DATA_MODEL."),
        click.option("--max-dollars", type=click.FloatRange(min=0), help="Stop before this is exceeded."),
        click.option("--input-price", type=click.FloatRange(min=0), help="Dollars per million tokens read."),
        click.option("--output-price", type=click.FloatRange(min=0), help="Dollars per million tokens written."),
        click.option("--ledger", type=click.Path(path_type=Path), help="File with answers and costs."),
        click.option("--batch", "in_batches", is_flag=True, help="Half the price, an answer within a day."),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A limit, such as llm.deadline_s=900."
        ),
    )

    def add(function: Any) -> Any:
        @functools.wraps(function)
        def command(**arguments: Any) -> Any:
            given = {each.name: arguments.pop(each.name) for each in dataclasses.fields(Reader)}
            return function(reader=Reader(**given), **arguments)

        for option in reversed(options):
            command = option(command)
        return command

    return add


def device_option(command: Any) -> Any:
    """Add the option that says where small models are trained."""
    where = click.Choice(["auto", "cpu", "cuda"])
    return click.option(
        "--device", default="auto", show_default=True, type=where, help="auto: a GPU where there is one."
    )(command)


def cap_option(command: Any) -> Any:
    """Add the option that keeps so many recordings of each composition."""
    return click.option(
        "--max-per-composition",
        "cap",
        default=0,
        show_default="all",
        type=click.IntRange(min=0),
        help="So many recordings of each known composition, the surest first.",
    )(command)


@dataclass(frozen=True)
class Step:
    """What a command does with each title."""

    name: str  # of the step and its settings
    done: str  # what has happened to a title
    read_many: Callable[[Any, Llm | None, bool], ReadMany]
    line: Callable[[Row, Any], Row]
    forecast: Callable[[Llm, Any, Iterable[Any], bool], Forecast]


def configured(reader: Reader, name: str) -> BuildConfig:
    """The settings of the options and of `--set`, which may name those of the model and of the step `name`.

    Raises `ConfigInvalid`, `UsageError` for a setting of another step.
    """
    from aria_data.config import load_config
    from aria_data.errors import UsageError

    for setting in reader.settings:
        if setting.partition(".")[0].strip() not in ("llm", name):
            raise UsageError(f"--set {setting}: here only settings of llm and {name}, such as llm.deadline_s=900.")
    config = load_config(None, reader.settings)
    no_limit = -1.0  # the forecast was shown, and somebody is watching
    is_limited = any(setting.partition("=")[0].strip() == "llm.max_dollars" for setting in reader.settings)
    given: dict[str, Any] = {
        "max_dollars": no_limit if reader.max_dollars is None and not is_limited else reader.max_dollars,
        "input_price": reader.input_price,
        "output_price": reader.output_price,
        "model": reader.model or getattr(config, name).model or None,
    }
    llm = dataclasses.replace(config.llm, **{key: value for key, value in given.items() if value is not None})
    who = "scorer" if name == "screen" else "annotator"
    step = dataclasses.replace(getattr(config, name), **{who: reader.who, "model": llm.model})
    return dataclasses.replace(config, llm=llm, **{name: step})


@contextmanager
def opened(reader: Reader, config: BuildConfig) -> Iterator[Llm | None]:
    """The language model where it is asked for; nothing for the others, which need neither key nor network."""
    if reader.who != "llm":
        yield None
        return
    from aria_data.llm import Llm

    with Llm(config.llm, reader.ledger or default_ledger(), announce=show_line) as llm:
        yield llm


def write_list(reader: Reader, step: Step, source: Path, output: Path | None, is_forecast: bool) -> None:
    """Read every title of `source` and write `output`, or only say what it would take. Exits with the result."""
    from aria_data.errors import UsageError
    from flows import show
    from flows.tools import title_lists

    config = configured(reader, step.name)
    of_step = getattr(config, step.name)
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input. Name another file for the results.")
    if output is None and not is_forecast:
        raise UsageError("name --output, the file for the results, or --forecast.")
    with opened(reader, config) as llm:
        if is_forecast or llm:
            click.echo(_forecast(reader, step, source, of_step, llm), err=not is_forecast)
        if is_forecast or output is None:
            sys.exit(DONE)
        with show.progress() as progress, progress.stage(step.name, _count(source), 0.0, 0):
            read_many = step.read_many(of_step, llm, reader.in_batches)
            done = title_lists.write_list(source, output, read_many, step.line, lambda: progress.advance(0.0))
        spent = f", {_dollars(llm.spent())} spent" if llm else ""
    num_done = done.num_rows - done.num_failed
    click.echo(f"{num_done} of {done.num_rows} titles {step.done} by {reader.who}{spent}.", err=True)
    if done.num_failed:
        show.error(f"{done.num_failed} not {step.done}: {done.error}")
    sys.exit(DONE_WITH_FAILURES if done.num_failed else DONE)


def show_errors(errors: dict[str, str]) -> None:
    """Show the first errors of an evaluation, by title, and exit."""
    from flows import show

    for title, error in list(errors.items())[:5]:
        show.error(f"{title}: {error}")
    sys.exit(DONE_WITH_FAILURES if errors else DONE)


def default_ledger() -> Path:
    """Where answers and costs are kept when no dataset is at hand."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "aria-data" / "llm.sqlite"


def show_line(line: str) -> None:
    click.echo(f"aria-data: {line}", err=True)


def _count(source: Path) -> int:
    from flows.tools.title_lists import read_rows

    return sum(1 for _ in read_rows(source))


def _forecast(reader: Reader, step: Step, source: Path, of_step: Any, llm: Llm | None) -> str:
    from flows.tools.title_lists import candidate_of, read_rows

    if llm is None:
        return f"{_count(source)} titles by {reader.who}: no request, no cost."
    candidates = (candidate_of(number, row) for number, row in enumerate(read_rows(source)))
    return str(step.forecast(llm, of_step, candidates, reader.in_batches))


def _dollars(picodollars: int) -> str:
    from aria_data.llm.prices import to_dollars

    return f"${to_dollars(picodollars):.4f}"
