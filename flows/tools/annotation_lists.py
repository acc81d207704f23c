"""Lists of titles, annotated in their own order. For `aria-data annotate`."""

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
    rows: Iterator[Row], config: AnnotateConfig, llm: Llm | None, in_batches: bool, say: Callable[[str], None]
) -> Iterator[tuple[Row, Annotation | Exception]]:
    """The rows with their annotations, in the order of the rows; what arrives early waits."""
    waiting: dict[int, Row] = {}
    arrived: dict[int, Annotation | Exception] = {}

    def candidates() -> Iterator[Candidate]:
        for number, row in enumerate(rows):
            waiting[number] = row
            yield candidate_of(number, row)

    following = 0
    for candidate, found in annotate_many(candidates(), config, llm, in_batches, say):
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
    say: Callable[[str], None],
    advance: Callable[[], None],
) -> Scored:
    """Write one JSON object a row of `source`: its columns, and the annotation. The file appears when whole."""
    done = Scored()
    partial = output.with_name(output.name + PARTIAL)
    rows = read_rows(source)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
            for row, found in annotate_rows(rows, config, llm, in_batches, say):
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
    """The row and what was read from it. A column of the row that is also a field keeps its text as `input_<name>`."""
    said = said_of(found)
    own = {f"input_{name}" if name in said else name: value for name, value in row.items()}
    return {**own, **said}


def said_of(found: Annotation | Exception) -> Row:
    """Every field of an annotation as plain values, the evidence as an object; all empty where there is an error."""
    annotation = Annotation() if isinstance(found, Exception) else found
    said = dataclasses.asdict(annotation)
    said["evidence"] = json.loads(annotation.evidence or "{}")
    return {**said, "error": str(found)} if isinstance(found, Exception) else said
