"""The `aria-data` command: every command in its group, and what becomes of errors. Thin: heavy imports wait."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from aria_data.errors import AriaDataError, UsageError
from aria_data.storage import printable
from flows.cli.annotate import annotate_command, evaluate_annotate_command
from flows.cli.base import DONE, DONE_WITH_FAILURES, INTERRUPTED, TERMINATED, USAGE
from flows.cli.build import build, demo, plan
from flows.cli.collect import attempts, crawl, fetch, retry, tree
from flows.cli.compare import check_scores, compare
from flows.cli.exclusions import exclude
from flows.cli.look import card, diff, explain, query, rejections, sample, stats, versions
from flows.cli.machine import costs, doctor, serve
from flows.cli.release import export, remove, subset, subsets
from flows.cli.report import browse, evaluate_reviews_command, report, show, sql
from flows.cli.screen import evaluate_screen_command, screen_command
from flows.cli.select import score, select
from flows.cli.tools import align_command, classify, evaluate, transcribe

GROUPS: dict[str, tuple[click.Command, ...]] = {  # as `--help` shows them: the steps of the work, in order
    "Collect": (crawl, fetch, retry, attempts, tree),
    "Build": (build, plan, demo),
    "Look": (report, browse, show, query, sql, stats, sample, explain, rejections, versions, diff, card),
    "Release": (export, subset, subsets, exclude, remove),
    "Train on less": (score, select, compare, check_scores),
    "Tools, on files and lists without a dataset": (
        transcribe,
        classify,
        align_command,
        screen_command,
        annotate_command,
        evaluate,
    ),
    "Machine": (doctor, costs, serve),
}


class Commands(click.Group):
    """The group of all commands. A reader that goes away, as `| head` does, has seen enough: that is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                _flush_errors()
                sys.stdout.flush()  # now, where a reader that is gone can be seen
        except BrokenPipeError:
            _leave(sys.stdout)
            sys.exit(DONE)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # rich ends with 1 then
                _leave(sys.stdout)
                sys.exit(DONE)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by the step that they belong to, all in columns of one width."""
        width = max(len(name) for name in self.commands)
        for title, commands in GROUPS.items():
            with formatter.section(title):
                limit = formatter.width - width - 6
                formatter.write_dl([(str(each.name).ljust(width), each.get_short_help_str(limit)) for each in commands])


def _flush_errors() -> None:
    """Messages that nobody reads any more are no reason to fail."""
    try:
        sys.stderr.flush()
    except BrokenPipeError:
        _leave(sys.stderr)


def _leave(stream: TextIO) -> None:
    """Whatever is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="aria-data")
def cli() -> None:
    """Turn recordings into versioned piano MIDI datasets.

    Exit codes: 0 done, 1 done with failures recorded (or nothing usable found), 2 wrong usage or configuration.
    """


evaluate.add_command(evaluate_screen_command)
evaluate.add_command(evaluate_annotate_command)
evaluate.add_command(evaluate_reviews_command)
for _command in (command for commands in GROUPS.values() for command in commands):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; every error a person can act on becomes one line, not a traceback."""
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        with _sigterm_heard():
            cli.main(prog_name="aria-data", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (KeyboardInterrupt, click.Abort) as error:
        code = TERMINATED if isinstance(error.__cause__ or error, Terminated) else INTERRUPTED
        _end_at_once("stopped. What is finished is kept; the same command goes on from here.", code)
    except OSError as error:
        if verbose or not (error.filename or error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG)):
            raise
        if error.filename:
            place = printable(str(error.filename), 300)
            _end_at_once(f"{place}: {error.strerror}. Check its permissions and its disk.", DONE_WITH_FAILURES)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end_at_once(f"the output cannot be written ({error.strerror}).", DONE_WITH_FAILURES)
    except AriaDataError as error:
        if verbose:
            raise
        _end_at_once(str(error), USAGE if isinstance(error, UsageError) else DONE_WITH_FAILURES)


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as from a scheduler: the command ends as with Ctrl-C."""


@contextmanager
def _sigterm_heard() -> Iterator[None]:
    """Raise `Terminated` in the main thread of this process, no other one's, when SIGTERM comes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    command = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == command:
            raise Terminated
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # of a process that was forked
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_at_once(message: str, code: int) -> None:
    """Say one line and end without waiting for threads that still decode; nothing they write counts until whole."""
    sys.stdout.flush()
    print(f"aria-data: {message}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
