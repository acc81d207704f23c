"""Digests of rows, by which versions are compared, and the hash of a version that is made of them. No Delta tables."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.columns import DIGEST

BATCH_ROWS = 10_000
REACHABLE = ("audio_reachable", True)  # the usual state, which says nothing of the content

_PLAIN = np.array([32 <= code < 127 and chr(code) not in '"\\' for code in range(256)])
_EMPTY = pa.scalar(None, pa.string())


def digest_of(row: Mapping[str, Any]) -> str:
    """Hash a row's content: 32 hex digits.

    Null columns are not counted, so a new column changes no old row; nor is `audio_reachable`, unless it is false.
    """
    values = {name: value for name, value in row.items() if value is not None and (name, value) != REACHABLE}
    return _digest(json.dumps(values, sort_keys=True, ensure_ascii=True))


def digests_of(batch: pa.RecordBatch) -> pa.Array:
    """Hash every row of a batch, as `digest_of` does. A column at a time: four times as fast as row by row."""
    pieces: list[str | pa.Array] = []
    for name in sorted(batch.schema.names):
        values = _counted(name, batch.column(name))
        if values.null_count < len(values):
            pieces += _pieces(f", {json.dumps(name)}: ", values)
    if not pieces:
        return pa.array([_digest("{}")] * batch.num_rows, pa.string())
    texts = pc.binary_join_element_wise(*_joined(pieces), "", null_handling="skip")
    return pa.array(_hashed(texts), pa.string())


def _counted(name: str, values: pa.Array) -> pa.Array:
    """The values that count, null in place of the others."""
    return pc.if_else(values, pa.scalar(None, values.type), values) if name == REACHABLE[0] else values


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _pieces(start: str, values: pa.Array) -> list[str | pa.Array]:
    """What makes `start` and a value for each value, as `json.dumps` writes it, when it is joined; null for null."""
    is_as_it_is = pa.types.is_string(values.type) and _is_plain(values)
    around = [f'{start}"', values, '"'] if is_as_it_is else [start, _as_json(values), ""]
    return [pc.binary_join_element_wise(*around, "")] if values.null_count else around


def _joined(pieces: Iterable[str | pa.Array]) -> Iterator[str | pa.Array]:
    """The same pieces, texts that follow each other as one."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
        else:
            yield from (text, piece)
            text = ""
    yield text


def _hashed(texts: pa.Array) -> Iterator[str]:
    """The digest of each text, which begins with a comma and a space: without these, in braces."""
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    content = memoryview(texts.buffers()[2] or b"")
    for first, last in itertools.pairwise(ends):
        digest = hashlib.sha256(b"{")
        digest.update(content[first + 2 : last])
        digest.update(b"}")
        yield digest.hexdigest()[:32]


def _as_json(values: pa.Array) -> pa.Array:
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return values.cast(pa.string())
    if pa.types.is_floating(values.type):
        return _floats(values)
    return _dumped(values)


def _floats(values: pa.Array) -> pa.Array:
    """Numbers with a fraction and without an exponent in either are written by Arrow, with the same shortest digits.

    Arrow writes exponents from 1e10 on, Python below 1e-4.
    """
    size = pc.abs(values)
    is_plain = pc.and_(
        pc.and_(pc.greater_equal(size, 1e-4), pc.less(size, 1e9)), pc.not_equal(pc.trunc(values), values)
    )
    is_plain = pc.fill_null(is_plain, True)
    texts = values.cast(pa.string())
    others = values.filter(pc.invert(is_plain))
    return pc.replace_with_mask(texts, pc.invert(is_plain), _dumped(others)) if len(others) else texts


def _dumped(values: pa.Array) -> pa.Array:
    # One call for all of them. JSON escapes a line break, so that one can only be between two values.
    texts = pa.array(json.dumps(values.to_pylist(), separators=("\n", ":"))[1:-1].split("\n"), pa.string())
    return pc.if_else(values.is_valid(), texts, _EMPTY) if values.null_count else texts


def _is_plain(values: pa.Array) -> bool:
    """Whether JSON writes these texts as they are: printable ASCII, without a quote or a backslash."""
    _, offsets, content = values.buffers()
    if content is None:
        return True
    ends = np.frombuffer(offsets, np.int32)
    first, last = ends[values.offset], ends[values.offset + len(values)]
    return bool(_PLAIN[np.frombuffer(content, np.uint8)[first:last]].all())


def content_sha256(rows: Iterable[Mapping[str, Any]]) -> str:
    """Hash rows independently of their order: the same content gives the same hash anywhere."""
    schema = pa.schema([("segment_id", pa.string()), (DIGEST, pa.string())])
    return hash_of(pa.Table.from_pylist([{"segment_id": r["segment_id"], DIGEST: digest_of(r)} for r in rows], schema))


def sorted_by_id(table: pa.Table) -> pa.Table:
    """Sort by segment_id, without a copy if it is sorted already."""
    ids = table["segment_id"]
    is_sorted = len(ids) < 2 or pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py()
    return table if is_sorted else table.sort_by("segment_id")


def hash_of(index: pa.Table) -> str:
    """Hash all rows of an index by their ids and digests, in any order."""
    digest = hashlib.sha256()
    for batch in sorted_by_id(index.select(["segment_id", DIGEST])).to_batches(max_chunksize=BATCH_ROWS):
        lines = pc.binary_join_element_wise(batch.column(0), batch.column(1), " ")
        digest.update("".join(f"{line}\n" for line in lines.to_pylist()).encode())
    return digest.hexdigest()
