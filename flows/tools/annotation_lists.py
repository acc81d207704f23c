"""An annotation as the columns of a list. For `aria-data annotate`."""

from __future__ import annotations

import dataclasses
import json

from aria_data.records import Annotation
from flows.tools.title_lists import Row


def annotated_line(row: Row, found: Annotation | Exception) -> Row:
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
