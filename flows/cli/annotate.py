"""Commands that read what titles say: annotate, evaluate annotate. Thin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli import base
from flows.cli.base import Examples, Reader, llm_options, print_json

if TYPE_CHECKING:
    from aria_data.annotate import AnnotateConfig
    from aria_data.llm import Forecast, Llm
    from aria_data.records import Candidate
    from flows.tools.title_lists import ReadMany


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
def annotate_command(reader: Reader, source: Path, output: Path | None, forecast: bool) -> None:
    """Read composer, performer, work and more from titles.

    Also number, movement, form and key, each with the words it was read from.
    Columns: title, and where there are description, uploader; others are kept, as input_NAME where a field has the
    same name. What the text does not say stays empty. The annotator llm asks the server at OPENAI_BASE_URL with the
    key OPENAI_API_KEY; what was answered once is never asked, or paid for, again.
    """
    from flows.tools.annotation_lists import annotated_line

    base.write_list(reader, base.Step("annotate", "read", _reader, annotated_line, _forecast), source, output, forecast)


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
def evaluate_annotate_command(reader: Reader, labels: Path, as_json: bool) -> None:
    """Measure an annotator on labelled titles: accuracy and coverage per field, and of composition_id the pairs.

    Columns: title, description, uploader, and any of composer, composer_id, performer, catalogue, catalogue_number,
    piece_number, movement, form, genre, period, key, composition_id. An empty label counts for nothing.
    """
    from flows.evaluate import annotate

    config = base.configured(reader, "annotate")
    with base.opened(reader, config) as llm:
        judged, errors = annotate.judge_labels(labels, _reader(config.annotate, llm, reader.in_batches))
        name = llm.model if llm else reader.who
    if as_json:
        print_json(annotate.as_json(judged, name, errors))
    else:
        annotate.print_table(judged, name)
    base.show_errors(errors)


def _reader(config: AnnotateConfig, llm: Llm | None, in_batches: bool) -> ReadMany:
    from aria_data.annotate import annotate_many

    return lambda candidates: annotate_many(candidates, config, llm, in_batches, base.show_line)


def _forecast(llm: Llm, config: AnnotateConfig, candidates: Iterable[Candidate], in_batches: bool) -> Forecast:
    from aria_data.annotate.annotation import questions_about
    from aria_data.annotate.model_tags import annotation_task

    return llm.forecast(annotation_task(), questions_about(candidates, config), in_batches)
