"""Release a version with its facts, and write `CARD.md`, which describes the newest version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.manifest import Manifest, Row, card, dataset_card
from aria_data.manifest.columns import DIGEST
from aria_data.manifest.digests import hash_of
from aria_data.manifest.kept_rows import KeptRows
from aria_data.manifest.revising import Change
from aria_data.manifest.rows import read_once, table_of
from aria_data.manifest.stored_rows import StoredColumns, StoredRows
from aria_data.storage import write_whole
from flows.build.provenance import COUNTED, counts_of

DESCRIBED = tuple(dict.fromkeys(["segment_id", *COUNTED, *card.DESCRIBED]))  # columns that facts and the card need


def publish(
    root: Path,
    rows: Sequence[Row] | StoredRows,
    note: str = "",
    facts: Mapping[str, Any] | None = None,
    index: pa.Table | None = None,
    kept: KeptRows | None = None,
) -> tuple[int, bool]:
    """Commit the rows unless they and the subsets' definitions are the newest version's. Gives (version, is it new).

    Without `facts` the newest version's are kept, except for its name and counts. `index` has the rows' digests
    (`StoredRows.index`), where they are made already. Rows that are `kept` of the newest version come on top.
    """
    manifest = Manifest(root)
    described = rows.columns if isinstance(rows, StoredRows) else table_of(rows)
    if kept is not None and isinstance(described, StoredColumns):
        described = kept.with_columns(described)
    new_facts = dict(_inherited(manifest, described) if facts is None else facts)
    given = rows.batches if isinstance(rows, StoredRows) else table_of(rows)
    is_defined_anew = new_facts.get("subsets", {}) != _last(manifest).get("subsets", {})
    newest, digests = manifest.version(), None if index is None else index[DIGEST]
    content = hash_of(read_once(given).index if index is None else index)
    is_told_anew = is_defined_anew or new_facts.get("name")
    if newest and not is_told_anew and content == _content_of(manifest, kept):
        version, is_new = newest, False
    elif newest or len(described):
        version, is_new = manifest.commit(given, note, new_facts, digests, kept), True
    else:
        version, is_new = 0, False
    if version:
        write_card(root, described)
    return version, is_new


def _content_of(manifest: Manifest, kept: KeptRows | None) -> str:
    """The hash of the newest version's rows, but for those that are kept."""
    return manifest.content_sha256() if kept is None else hash_of(kept.others)


def publish_change(
    root: Path,
    change: Change,
    described: pa.Table | StoredColumns,
    note: str,
    segment_ids: Collection[str] | None = None,
    subsets: Mapping[str, Any] | None = None,
) -> int:
    """Commit the newest version with some rows changed (`Manifest.revise`), and give the version.

    `described` are all rows of the version to be, in any order, with the columns `DESCRIBED`, users' subsets
    and weights. `segment_ids` are the rows that may change (None: any), `subsets` the definitions of all subsets,
    where they changed.
    """
    manifest = Manifest(root)
    facts = _inherited(manifest, described) | ({} if subsets is None else {"subsets": dict(subsets)})
    is_defined_anew = facts.get("subsets", {}) != _last(manifest).get("subsets", {})
    version = manifest.revise(change, note, facts, segment_ids, always=is_defined_anew)
    write_card(root, described)
    return version


def _inherited(manifest: Manifest, rows: pa.Table | StoredColumns) -> dict[str, Any]:
    last = _last(manifest)
    kept = {key: value for key, value in last.items() if key not in ("name", "counts")}
    return kept | {"counts": counts_of(rows) | _rejections(last)}


def _last(manifest: Manifest) -> dict[str, Any]:
    return manifest.versions()[-1].facts if manifest.version() else {}


def _rejections(facts: Mapping[str, Any]) -> dict[str, Any]:
    counts = facts.get("counts")
    return {"rejections": counts["rejections"]} if isinstance(counts, Mapping) and "rejections" in counts else {}


def write_card(root: Path, rows: pa.Table | StoredColumns) -> None:
    """Make `CARD.md` describe the newest version, also where a kill came between a commit and its card."""
    text = dataset_card(rows, Manifest(root).versions()[-1]).encode()
    path = root / "CARD.md"
    if not path.is_file() or path.read_bytes() != text:
        write_whole(path, text)
