"""Commands that judge titles: screen, evaluate screen. Thin."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli import base
from flows.cli.base import Examples, Reader, llm_options, print_json

ask_unsure_option = click.option(
    "--ask-unsure",
    "most_asked",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of the scorer llm: ask about the N titles that the learned scorer is least sure of; it scores the rest.",
)

if TYPE_CHECKING:
    from aria_data.llm import Forecast, Llm
    from aria_data.records import Candidate
    from aria_data.screen import ScreenConfig
    from flows.tools.title_lists import ReadMany


@click.command(
    "screen",
    cls=Examples,
    examples="""
    aria-data screen --input titles.csv --output scores.jsonl
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --model gpt-4o-mini --forecast
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --model gpt-4o-mini --max-dollars 0.50
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --ask-unsure 500
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --set llm.scoring=json
    """,
)
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="CSV, TSV or JSONL.")
@click.option("--output", type=click.Path(path_type=Path), help="JSONL: one object a row, in order.")
@llm_options("scorer")
@ask_unsure_option
@click.option("--forecast", is_flag=True, help="Say what it would take; ask nothing.")
def screen_command(reader: Reader, source: Path, output: Path | None, most_asked: int | None, forecast: bool) -> None:
    """Score titles 1 to 5: does the text say solo piano?

    Columns: title, and where there are description, uploader; others are kept. The scorer llm asks the server at
    OPENAI_BASE_URL with the key OPENAI_API_KEY. What was answered once is never asked, or paid for, again.
    """
    from flows.tools.title_lists import screened_line

    _require_llm(reader, most_asked is not None, "--ask-unsure")
    read_many, foresee = partial(_reader, most_asked=most_asked), partial(_forecast, most_asked=most_asked)
    base.write_list(reader, base.Step("screen", "scored", read_many, screened_line, foresee), source, output, forecast)


@click.command(
    "screen",
    cls=Examples,
    examples="""
    aria-data evaluate screen --labels labels.csv
    aria-data evaluate screen --labels labels.csv --scorer llm --model gpt-4o-mini --max-dollars 0.10 --json
    aria-data evaluate screen --labels labels.csv --scorer llm --fit weights.json
    """,
)
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="CSV: title,description,uploader,label.")
@llm_options("scorer")
@ask_unsure_option
@click.option(
    "--fit", type=click.Path(path_type=Path), help="Write weights of digits and learned scorer, fitted on LABELS."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_screen_command(
    reader: Reader, labels: Path, most_asked: int | None, fit: Path | None, as_json: bool
) -> None:
    """Measure a scorer on labelled titles: precision, recall and F1 by threshold, and by language where it is named.

    The label is 1 for solo piano and 0 for anything else. A title that could not be scored counts as not kept.
    --fit fits how a model's digits and the learned scorer are joined, for --set llm.combination=FILE.
    """
    from flows.evaluate import screen, screen_fit

    _require_llm(reader, most_asked is not None, "--ask-unsure")
    _require_llm(reader, fit is not None, "--fit")
    config = base.configured(reader, "screen")
    fitted = None
    with base.opened(reader, config) as llm:
        screen_fit.require_digits(llm, fit, is_whole=most_asked is None and not reader.in_batches)
        judged, errors = screen.judge_labels(labels, _reader(config.screen, llm, reader.in_batches, most_asked))
        name = llm.model if llm else reader.who
        if fit is not None and llm is not None:
            fitted = screen_fit.fit_labels(labels, config.screen, llm, fit)
    if as_json:
        print_json(screen.as_json(judged, name, errors) | ({"fit": fitted} if fitted else {}))
    else:
        screen.print_table(judged, name)
        screen_fit.print_fit(fitted, fit)
    base.show_errors(errors)


def _require_llm(reader: Reader, is_given: bool, option: str) -> None:
    from aria_data.errors import UsageError

    if is_given and reader.who != "llm":
        raise UsageError(f"{option} is for the scorer llm: add --scorer llm, or leave {option} out.")


def _reader(config: ScreenConfig, llm: Llm | None, in_batches: bool, most_asked: int | None) -> ReadMany:
    from aria_data.screen import screen_many

    return lambda candidates: screen_many(candidates, config, llm, in_batches, base.show_line, most_asked)


def _forecast(
    llm: Llm, config: ScreenConfig, candidates: Iterable[Candidate], in_batches: bool, most_asked: int | None
) -> Forecast:
    from aria_data.screen.digits import digit_task
    from aria_data.screen.screening import least_sure, screen_questions, screen_task

    if most_asked is not None:
        candidates, _ = least_sure(candidates, config, most_asked)

    task = digit_task() if llm.config.scoring == "digits" and not in_batches else screen_task()
    return llm.forecast(task, screen_questions(candidates, config), in_batches)
