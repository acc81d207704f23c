"""Commands that judge titles: screen, evaluate screen. Thin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.base import DONE, DONE_WITH_FAILURES, Examples, llm_options, print_json

if TYPE_CHECKING:
    from aria_data.llm import Llm


@click.command(
    "screen",
    cls=Examples,
    examples="""
    aria-data screen --input titles.csv --output scores.jsonl
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --model gpt-4o-mini --forecast
    aria-data screen --input titles.csv --output scores.jsonl --scorer llm --model gpt-4o-mini --max-dollars 0.50
    """,
)
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="CSV, TSV or JSONL.")
@click.option("--output", type=click.Path(path_type=Path), help="JSONL: one object a row, in order.")
@llm_options("scorer")
@click.option("--forecast", is_flag=True, help="Say what it would take; ask nothing.")
def screen_command(
    source: Path,
    output: Path | None,
    scorer: str,
    model: str,
    max_dollars: float | None,
    input_price: float | None,
    output_price: float | None,
    ledger: Path | None,
    in_batches: bool,
    forecast: bool,
) -> None:
    """Score titles 1 to 5: does the text say solo piano?

    Columns: title, and where there are description, uploader; others are kept. The scorer llm asks the server at
    OPENAI_BASE_URL with the key OPENAI_API_KEY. What was answered once is never asked, or paid for, again.
    """
    from aria_data.errors import UsageError
    from aria_data.screen import ScreenConfig
    from flows import show
    from flows.tools import title_lists

    config = ScreenConfig(scorer=scorer, model=model)
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input. Name another file for the scores.")
    if output is None and not forecast:
        raise UsageError("name --output, the file for the scores, or --forecast.")
    with _opened(scorer, model, max_dollars, input_price, output_price, ledger) as llm:
        if forecast or (llm and llm.price):
            click.echo(_forecast(source, config, llm, in_batches), err=not forecast)
        if forecast or output is None:
            sys.exit(DONE)
        with show.progress() as progress, progress.stage("screen", _count(source), 0.0, 0):
            advance = lambda: progress.advance(0.0)  # noqa: E731
            scored = title_lists.score_list(source, output, config, llm, in_batches, show_line, advance)
        spent = f", {_dollars(llm.spent())} spent" if llm else ""
    click.echo(
        f"{scored.num_rows - scored.num_failed} of {scored.num_rows} titles scored by {scorer}{spent}.", err=True
    )
    if scored.num_failed:
        show.error(f"{scored.num_failed} not scored: {scored.error}")
    sys.exit(DONE_WITH_FAILURES if scored.num_failed else DONE)


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
def evaluate_screen_command(
    labels: Path,
    scorer: str,
    model: str,
    max_dollars: float | None,
    input_price: float | None,
    output_price: float | None,
    ledger: Path | None,
    in_batches: bool,
    as_json: bool,
) -> None:
    """Measure a scorer on labelled titles: precision, recall and F1 by threshold, and by language where it is named.

    The label is 1 for solo piano and 0 for anything else. A title that could not be scored counts as not kept.
    """
    from aria_data.screen import ScreenConfig
    from flows import show
    from flows.evaluate import screen

    with _opened(scorer, model, max_dollars, input_price, output_price, ledger) as llm:
        config, name = ScreenConfig(scorer=scorer, model=model), llm.model if llm else scorer
        judged, errors = screen.judge_labels(labels, config, llm, in_batches, show_line)
    if as_json:
        print_json(screen.as_json(judged, name, errors))
    else:
        screen.print_table(judged, name)
    for title, error in list(errors.items())[:5]:
        show.error(f"{title}: {error}")
    sys.exit(DONE_WITH_FAILURES if errors else DONE)


@contextmanager
def _opened(
    scorer: str,
    model: str,
    max_dollars: float | None,
    input_price: float | None,
    output_price: float | None,
    ledger: Path | None,
) -> Iterator[Llm | None]:
    """The language model where it is asked for; nothing for the others, which need neither key nor network."""
    if scorer != "llm":
        yield None
        return
    from aria_data.llm import Llm, LlmConfig

    no_limit = -1.0  # the forecast was shown, and somebody is watching
    budget = no_limit if max_dollars is None else max_dollars
    given: dict[str, Any] = {"max_dollars": budget, "input_price": input_price, "output_price": output_price}
    config = LlmConfig(model=model, **{name: value for name, value in given.items() if value is not None})
    with Llm(config, ledger or default_ledger()) as llm:
        yield llm


def default_ledger() -> Path:
    """Where answers and costs are kept when no dataset is at hand."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "aria-data" / "llm.sqlite"


def show_line(line: str) -> None:
    click.echo(f"aria-data: {line}", err=True)


def _count(source: Path) -> int:
    from flows.tools.title_lists import read_rows

    return sum(1 for _ in read_rows(source))


def _forecast(source: Path, config: Any, llm: Llm | None, in_batches: bool) -> str:
    from aria_data.screen.screening import screen_questions, screen_task
    from flows.tools.title_lists import candidate_of, read_rows

    if llm is None:
        return f"{_count(source)} titles by {config.scorer}: no request, no cost."
    candidates = (candidate_of(number, row) for number, row in enumerate(read_rows(source)))
    found = llm.forecast(screen_task(), screen_questions(candidates, config), in_batches)
    return (
        f"{found.num_items} titles, {found.num_cached} answered before: {found.num_requests} requests, about "
        f"{found.input_tokens} tokens in and {found.output_tokens} out, about ${found.dollars:.4f} "
        f"(at most ${found.worst_dollars:.4f} if each is answered at once)."
    )


def _dollars(picodollars: int) -> str:
    from aria_data.llm.prices import to_dollars

    return f"${to_dollars(picodollars):.4f}"
