"""What the commands share: how their help looks, exit codes, options, JSON. No command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aria_data.storage import json_line

DONE, DONE_WITH_FAILURES, USAGE, INTERRUPTED = 0, 1, 2, 130


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
            help="auto (for transkun bfloat16 where it is fast), float32 or bfloat16.",
        ),
        click.option("--batch-size", default=0, help="Windows a forward pass; 0: chosen by device."),
        click.option(
            "--threads", default=0, help="Windows transcribed at the same time on a CPU; 0: one a core, at most 16."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def prefect_option(command: Any) -> Any:
    """Add the option that builds without Prefect; the command gets `prefect`, the arguments for `run_build`."""
    return click.option(
        "--no-prefect",
        "prefect",
        is_flag=True,
        callback=lambda context, option, is_given: {"with_prefect": False} if is_given else {},
        help="Build without Prefect's record of the run, and without its retries.",
    )(command)


def llm_options(who: str) -> Callable[[Any], Any]:
    """Add the options that say who reads, the rules or a model, and for how much; `who` names the first option."""
    choices = ["learned", "rules", "llm"] if who == "scorer" else ["rules", "llm"]
    options = (
        click.option(f"--{who}", type=click.Choice(choices), default=choices[0], show_default=True),
        click.option("--model", default="", help=f"Of the {who} llm; without it, ARIA_DATA_MODEL."),
        click.option("--max-dollars", type=click.FloatRange(min=0), help="Stop before this is exceeded."),
        click.option("--input-price", type=click.FloatRange(min=0), help="Dollars per million tokens read."),
        click.option("--output-price", type=click.FloatRange(min=0), help="Dollars per million tokens written."),
        click.option("--ledger", type=click.Path(path_type=Path), help="File with answers and costs."),
        click.option("--batch", "in_batches", is_flag=True, help="Half the price, an answer within a day."),
    )

    def add(command: Any) -> Any:
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
