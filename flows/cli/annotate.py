"""Commands that read what titles say: annotate, evaluate annotate. Thin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.base import DONE, DONE_WITH_FAILURES, Examples, llm_options, print_json
from flows.cli.screen import _count, _dollars, _opened, show_line

if TYPE_CHECKING:
    from aria_data.annotate import AnnotateConfig
    from aria_data.llm import Llm


@click.command(
    "annotate",
    cls=Examples,
    examples="""
    aria-data annotate --input titles.csv --output tags.jsonl
    aria-data annotate --input titles.csv --output tags.jsonl --annotator llm --model gpt-4o-mini --forecast
    aria-data annotate --input titles.csv --output tags.jsonl --annotator llm --model gpt-4o-mini --max-dollars 0.50
    """,
)
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="CSV, TSV or JSONL.")
@click.option("--output", type=click.Path(path_type=Path), help="JSONL: one object a row, in order.")
@llm_options("annotator")
@click.option("--forecast", is_flag=True, help="Say what it would take; ask nothing.")
def annotate_command(
    source: Path,
    output: Path | None,
    annotator: str,
    model: str,
    max_dollars: float | None,
    input_price: float | None,
    output_price: float | None,
    ledger: Path | None,
    in_batches: bool,
    forecast: bool,
) -> None:
    """Read composer, performer, work and more from titles.

    Also number, movement, form and key, each with the words it was read from.
    Columns: title, and where there are description, uploader; others are kept, as input_NAME where a field has the
    same name. What the text does not say stays empty. The annotator llm asks the server at OPENAI_BASE_URL with the
    key OPENAI_API_KEY; what was answered once is never asked, or paid for, again.
    """
    from aria_data.annotate import AnnotateConfig
    from aria_data.errors import UsageError
    from flows import show
    from flows.tools import annotation_lists

    config = AnnotateConfig(annotator=annotator, model=model)
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input. Name another file for the tags.")
    if output is None and not forecast:
        raise UsageError("name --output, the file for the tags, or --forecast.")
    with _opened(annotator, model, max_dollars, input_price, output_price, ledger) as llm:
        if forecast or (llm and llm.price):
            click.echo(_forecast(source, config, llm, in_batches), err=not forecast)
        if forecast or output is None:
            sys.exit(DONE)
        with show.progress() as progress, progress.stage("annotate", _count(source), 0.0, 0):
            advance = lambda: progress.advance(0.0)  # noqa: E731
            done = annotation_lists.annotate_list(source, output, config, llm, in_batches, show_line, advance)
        spent = f", {_dollars(llm.spent())} spent" if llm else ""
    click.echo(f"{done.num_rows - done.num_failed} of {done.num_rows} titles read by {annotator}{spent}.", err=True)
    if done.num_failed:
        show.error(f"{done.num_failed} not read: {done.error}")
    sys.exit(DONE_WITH_FAILURES if done.num_failed else DONE)


@click.command(
    "annotate",
    cls=Examples,
    examples="""
    aria-data evaluate annotate --labels labels.csv
    aria-data evaluate annotate --labels labels.csv --annotator llm --model gpt-4o-mini --max-dollars 0.10 --json
    """,
)
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="CSV: title, and columns with labels.")
@llm_options("annotator")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_annotate_command(
    labels: Path,
    annotator: str,
    model: str,
    max_dollars: float | None,
    input_price: float | None,
    output_price: float | None,
    ledger: Path | None,
    in_batches: bool,
    as_json: bool,
) -> None:
    """Measure an annotator on labelled titles: accuracy and coverage per field, and of composition_id the pairs.

    Columns: title, description, uploader, and any of composer, composer_id, performer, catalogue, catalogue_number,
    piece_number, movement, form, genre, period, key, composition_id. An empty label counts for nothing.
    """
    from aria_data.annotate import AnnotateConfig
    from flows import show
    from flows.evaluate import annotate

    with _opened(annotator, model, max_dollars, input_price, output_price, ledger) as llm:
        config, name = AnnotateConfig(annotator=annotator, model=model), llm.model if llm else annotator
        judged, errors = annotate.judge_labels(labels, config, llm, in_batches, show_line)
    if as_json:
        print_json(annotate.as_json(judged, name, errors))
    else:
        annotate.print_table(judged, name)
    for title, error in list(errors.items())[:5]:
        show.error(f"{title}: {error}")
    sys.exit(DONE_WITH_FAILURES if errors else DONE)


def _forecast(source: Path, config: AnnotateConfig, llm: Llm | None, in_batches: bool) -> str:
    from aria_data.annotate.annotation import questions_about
    from aria_data.annotate.model_tags import annotation_task
    from flows.tools.title_lists import candidate_of, read_rows

    if llm is None:
        return f"{_count(source)} titles by rules: no request, no cost."
    candidates = (candidate_of(number, row) for number, row in enumerate(read_rows(source)))
    found = llm.forecast(annotation_task(), questions_about(candidates, config), in_batches)
    return (
        f"{found.num_items} titles, {found.num_cached} answered before: {found.num_requests} requests, about "
        f"{found.input_tokens} tokens in and {found.output_tokens} out, about ${found.dollars:.4f} "
        f"(at most ${found.worst_dollars:.4f} if each is answered at once)."
    )
