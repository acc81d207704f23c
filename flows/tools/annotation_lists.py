"""Annotate lists of titles, in the order of the list. For `aria-data annotate`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from aria_data.annotate import AnnotateConfig, annotate_many
from aria_data.llm import Llm
from aria_data.records import Annotation, Candidate
from aria_data.storage import PARTIAL, not_writable
from flows.tools.title_lists import Row, Scored, candidate_of, read_rows


def annotate_rows(
    rows: Iterator[Row], config: AnnotateConfig, llm: Llm | None, in_batches: bool, announce: Callable[[str], None]
) -> Iterator[tuple[Row, Annotation | Exception]]:
    """Give the rows with their annotations (or errors) in the order of the rows; results that arrive early wait."""
    waiting: dict[int, Row] = {}
    arrived: dict[int, Annotation | Exception] = {}

    def candidates() -> Iterator[Candidate]:
        for number, row in enumerate(rows):
            waiting[number] = row
            yield candidate_of(number, row)

    following = 0
    for candidate, found in annotate_many(candidates(), config, llm, in_batches, announce):
        arrived[int(candidate.candidate_id)] = found
        while following in arrived:
            yield waiting.pop(following), arrived.pop(following)
            following += 1


def annotate_list(
    source: Path,
    output: Path,
    config: AnnotateConfig,
    llm: Llm | None,
    in_batches: bool,
    announce: Callable[[str], None],
    advance: Callable[[], None],
) -> Scored:
    """Write one JSON object for each row of `source`: its columns, and the annotation. `advance` is called per row.

    `output` appears when it is complete. Raises `UsageError` for a wrong `source`, `DatasetNotWritable`.
    """
    done = Scored()
    partial = output.with_name(output.name + PARTIAL)
    rows = read_rows(source)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
            for row, found in annotate_rows(rows, config, llm, in_batches, announce):
                done.num_rows += 1
                if isinstance(found, Exception):
                    done.num_failed += 1
                    done.error = done.error or str(found)
                file.write(json.dumps(_line(row, found), ensure_ascii=False) + "\n")
                advance()
        os.replace(partial, output)
    except OSError as error:
        raise not_writable(output, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return done


def _line(row: Row, found: Annotation | Exception) -> Row:
    """The row and its annotation. A column of the row that is named like a field becomes `input_<name>`."""
    fields = said_of(found)
    columns = {f"input_{name}" if name in fields else name: value for name, value in row.items()}
    return {**columns, **fields}


def said_of(found: Annotation | Exception) -> Row:
    """The fields of an annotation as plain values, the evidence as an object; empty, with `error`, for an error."""
    annotation = Annotation() if isinstance(found, Exception) else found
    fields = dataclasses.asdict(annotation)
    fields["evidence"] = json.loads(annotation.evidence or "{}")
    return {**fields, "error": str(found)} if isinstance(found, Exception) else fields
