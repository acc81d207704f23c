"""Commands that judge titles: screen, evaluate screen. Thin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli import base
from flows.cli.base import Examples, Reader, llm_options, print_json

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
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --set llm.scoring=json
    """,
)
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="CSV, TSV or JSONL.")
@click.option("--output", type=click.Path(path_type=Path), help="JSONL: one object a row, in order.")
@llm_options("scorer")
@click.option("--forecast", is_flag=True, help="Say what it would take; ask nothing.")
def screen_command(reader: Reader, source: Path, output: Path | None, forecast: bool) -> None:
    """Score titles 1 to 5: does the text say solo piano?

    Columns: title, and where there are description, uploader; others are kept. The scorer llm asks the server at
    OPENAI_BASE_URL with the key OPENAI_API_KEY. What was answered once is never asked, or paid for, again.
    """
    from flows.tools.title_lists import screened_line

    base.write_list(reader, base.Step("screen", "scored", _reader, screened_line, _forecast), source, output, forecast)


@click.command(
    "screen",
    cls=Examples,
    examples="""
    aria-data evaluate screen --labels labels.csv
    aria-data evaluate screen --labels labels.csv --scorer llm --model gpt-4o-mini --max-dollars 0.10 --json
    """,
)
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="CSV: title,description,uploader,label.")
@llm_options("scorer")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_screen_command(reader: Reader, labels: Path, as_json: bool) -> None:
    """Measure a scorer on labelled titles: precision, recall and F1 by threshold, and by language where it is named.

    The label is 1 for solo piano and 0 for anything else. A title that could not be scored counts as not kept.
    """
    from flows.evaluate import screen

    config = base.configured(reader, "screen")
    with base.opened(reader, config) as llm:
        judged, errors = screen.judge_labels(labels, _reader(config.screen, llm, reader.in_batches))
        name = llm.model if llm else reader.who
    if as_json:
        print_json(screen.as_json(judged, name, errors))
    else:
        screen.print_table(judged, name)
    base.show_errors(errors)


def _reader(config: ScreenConfig, llm: Llm | None, in_batches: bool) -> ReadMany:
    from aria_data.screen import screen_many

    return lambda candidates: screen_many(candidates, config, llm, in_batches, base.show_line)


def _forecast(llm: Llm, config: ScreenConfig, candidates: Iterable[Candidate], in_batches: bool) -> Forecast:
    from aria_data.screen.digits import digit_task
    from aria_data.screen.screening import screen_questions, screen_task

    task = digit_task() if llm.config.scoring == "digits" and not in_batches else screen_task()
    return llm.forecast(task, screen_questions(candidates, config), in_batches)
