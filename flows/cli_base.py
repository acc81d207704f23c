"""What the commands share: how their help looks, exit codes, options. No command."""

from __future__ import annotations

from typing import Any

import click

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
            "--threads", default=0, help="Windows heard at the same time on a CPU; 0: one a core, at most 16."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
