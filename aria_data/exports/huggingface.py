"""Parquet shards with the MIDI bytes in a column, and a dataset card; `datasets.load_dataset(out)` reads it.

Subsets are configurations, not copies: each row is stored once, in the folder of the narrowest subset that it is in,
and a configuration lists its folders. The card is that of `aria_data.manifest.card` with this format's own sections,
and with front matter for programs, which contains no text from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.exports.writing import (
    MIN_SHARDS,
    SPLITS,
    Exported,
    Progress,
    Writer,
    aligned_columns,
    exported,
    exported_columns,
    new_export,
    shards_of,
    splits_of,
)
from aria_data.manifest import Dataset, Version, dataset_card
from aria_data.manifest.card import cell, markdown_table
from aria_data.manifest.columns import is_subset
from aria_data.manifest.dataset import ALIGNED_BY, statistics
from aria_data.manifest.manifest import columns
from aria_data.web import licence_code

ROWS_PER_SHARD = 10_000
ROWS_PER_GROUP = 500  # of Parquet: written, and read by other programs, at once
MIDI = "midi"
ALIGNED = {  # column of a path in the dataset -> column of the file's content, its type, its description
    "beats_path": (
        "beats",
        pa.string(),
        "beats and bars in ASAP's layout, a line a beat; empty: aligned with no score",
    ),
    "alignment_path": ("alignment", pa.binary(), "every beat and note with its place in the score: a Parquet file"),
}
LEVELS = (("unique", "in_unique"), ("deduplicated", "in_deduplicated"), ("pruned", "in_pruned"), ("full", ""))
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LICENCE_IDS = {"cc0": "cc0-1.0", "unknown": "unknown"}  # ours -> huggingface.co's; our other codes have no version


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one level and one split."""

    level: str
    split: str
    num_rows: int
    num_bytes: int  # in memory


def export(
    dataset: Dataset,
    out: Path | str,
    where: str = "",
    progress: Progress | None = None,
    shards: int = MIN_SHARDS,
) -> Exported:
    """Write `data/<level>/<split>-00000-of-00008.parquet` and the card `README.md`. See `exports.export`.

    `shards` are those of each split in each folder, at least, so that each configuration has as many.
    """
    with new_export(dataset, out, where, "huggingface", progress) as writer:
        parts = [
            _write_part(writer, level, split, rows, shards)
            for level, rows in _levels(writer.selection.table)
            for split in splits_of(rows)
        ]
        version = next((each for each in dataset.versions() if each.number == dataset.version), dataset.version)
        writer.write("README.md", card(writer.selection.table, parts, version, where).encode())
    return exported(writer, dataset, out, "huggingface", _without_rows(parts))


def _levels(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Divide the rows by the narrowest subset that each is in."""
    for level, column in LEVELS:
        is_in = pc.fill_null(table[column], False) if column else pa.chunked_array([pa.repeat(True, len(table))])
        yield level, table.filter(is_in)
        table = table.filter(pc.invert(is_in))


def _write_part(writer: Writer, level: str, split: str, rows: pa.Table, at_least: int) -> _Part:
    rows = rows.filter(pc.equal(rows["split"], split))
    shards, num_bytes = shards_of(rows, at_least, ROWS_PER_SHARD), 0
    for number, shard in enumerate(shards):
        num_bytes += _write_shard(writer, f"data/{level}/{split}-{number:05d}-of-{len(shards):05d}.parquet", shard)
    return _Part(level, split, rows.num_rows, num_bytes)


def _without_rows(parts: list[_Part]) -> list[str]:
    """The configurations, and their splits, without rows. They are left out, because `datasets` cannot load them."""
    configs, splits = _configs(parts), _splits(parts)
    missing = [f"configuration {level}" for level, _ in LEVELS[::-1] if level not in configs]
    for name, chosen in configs.items():
        there = {part.split for part in chosen}
        missing += [f"split {split} of configuration {name}" for split in splits if split not in there]
    return missing


def _write_shard(writer: Writer, name: str, rows: pa.Table) -> int:
    import pyarrow.parquet as pq

    names, aligned = exported_columns(rows), aligned_columns(writer.selection.table)
    schema = rows.select(names).schema.remove_metadata().append(pa.field(MIDI, pa.binary()))
    for column, type_, _ in map(ALIGNED.__getitem__, aligned):
        schema = schema.append(pa.field(column, type_))
    num_bytes = 0
    with (
        writer.large_file(name, rows.num_rows) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as file,
    ):
        for start in range(0, rows.num_rows, ROWS_PER_GROUP):
            chunk = rows.slice(start, ROWS_PER_GROUP)
            midis = pa.array(writer.midis(chunk), pa.binary())
            group = chunk.select(names).append_column(schema.field(MIDI), midis)
            group = _with_alignments(writer, group, chunk, aligned).combine_chunks()
            file.write_table(group, row_group_size=ROWS_PER_GROUP)
            num_bytes += group.nbytes
    return num_bytes


def _with_alignments(writer: Writer, group: pa.Table, rows: pa.Table, aligned: list[str]) -> pa.Table:
    contents = [writer.aligned(row) for row in rows.select(ALIGNED_BY).to_pylist()] if aligned else []
    for column in aligned:
        name, type_, _ = ALIGNED[column]
        values: list[Any] = [each.get(column) for each in contents]
        if type_ is pa.string():
            values = [None if value is None else value.decode("utf-8", "replace") for value in values]
        group = group.append_column(pa.field(name, type_), pa.array(values, type_))
    return group


# ---------------------------------------------------------------- the card


def card(table: pa.Table, parts: list[_Part], version: Version | int, where: str) -> str:
    """Give the dataset card as Markdown: front matter for programs, then the card for people and a table of columns."""
    template = resources.files("aria_data.exports").joinpath("card.md").read_text(encoding="utf-8")
    missing = [*(f"split {split}" for split in SPLITS if split not in _splits(parts)), *_without_rows(parts)]
    reading = template.format(
        split=_splits(parts)[0],
        configs=markdown_table(("configuration", *_splits(parts)), _config_rows(parts)),
        missing=f"\nWithout rows, and so not there: {', '.join(missing)}.\n" if missing else "",
    )
    body = dataset_card(table, version, where=where, sections=[reading.strip()])
    described = _described(table)
    return f"{_front_matter(statistics(table), parts, described)}\n{body}\n{_columns(described)}"


def _described(table: pa.Table) -> list[dict[str, str]]:
    """Describe the exported columns, with name, type, unit and description, as `manifests/schema/` does."""
    fixed = {column["name"]: column for column in columns()}
    found = [fixed.get(name) or _described_added(name) for name in exported_columns(table)]
    found.append({"name": MIDI, "type": "binary", "unit": "", "description": "the MIDI file"})
    for name, type_, description in map(ALIGNED.__getitem__, aligned_columns(table)):
        found.append({"name": name, "type": str(type_), "unit": "", "description": description})
    return found


def _described_added(name: str) -> dict[str, str]:
    if is_subset(name):
        return {"name": name, "type": "bool", "unit": "", "description": "Whether the row is in this subset."}
    return {"name": name, "type": "float64", "unit": "", "description": "The row's weight, 0 or more."}


def _front_matter(counts: dict[str, Any], parts: list[_Part], described: list[dict[str, str]]) -> str:
    configs = _configs(parts)
    lines = [
        "pretty_name: Piano MIDI, transcribed from recordings",
        *_licence_lines(counts["by"]["licence"]),
        "tags:",
        *(f"- {tag}" for tag in ("midi", "music", "piano", "symbolic-music")),
        "size_categories:",
        f"- {next((name for limit, name in SIZES if counts['num_files'] < limit), 'n>1M')}",
        "configs:",
        *(line for name in configs for line in _config_lines(name, configs[name])),
        "dataset_info:",
        *(line for name in configs for line in _info_lines(name, configs[name], described)),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _licence_lines(groups: dict[str, dict[str, Any]]) -> list[str]:
    """The lines about the licence. One licence is named only if all rows have it; never a more permissive one."""
    codes = {licence_code(text) for text in groups}
    if len(codes) == 1 and (known := LICENCE_IDS.get(next(iter(codes)))):
        return [f"license: {known}"]
    name = next(iter(codes)) if len(codes) == 1 else "several"
    return ["license: other", f"license_name: {name}", "license_link: README.md"]


def _configs(parts: list[_Part]) -> dict[str, list[_Part]]:
    """Each configuration with its parts, the widest first; a configuration without rows is left out."""
    narrower = [level for level, _ in LEVELS]
    configs = {
        level: [part for part in parts if narrower.index(part.level) <= place]
        for place, (level, _) in reversed(list(enumerate(LEVELS)))
    }
    return {level: chosen for level, chosen in configs.items() if chosen}


def _config_lines(name: str, parts: list[_Part]) -> Iterator[str]:
    yield f"- config_name: {name}"
    if name == "full":
        yield "  default: true"
    yield "  data_files:"
    for split in _splits(parts):
        yield f"  - split: {split}"
        yield "    path:"
        yield from (f"    - data/{part.level}/{split}-*.parquet" for part in parts if part.split == split)


def _info_lines(name: str, parts: list[_Part], described: list[dict[str, str]]) -> Iterator[str]:
    yield f"- config_name: {name}"
    yield "  features:"
    for column in described:
        yield from (f"  - name: {column['name']}", f"    dtype: {column['type']}")
    yield "  splits:"
    for split in _splits(parts):
        chosen = [part for part in parts if part.split == split]
        yield f"  - name: {split}"
        yield f"    num_bytes: {sum(part.num_bytes for part in chosen)}"
        yield f"    num_examples: {sum(part.num_rows for part in chosen)}"
    yield f"  dataset_size: {sum(part.num_bytes for part in parts)}"


def _splits(parts: list[_Part]) -> list[str]:
    """The splits of the parts: train, validation, test, then others by name."""
    found = {part.split for part in parts}
    return [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))


def _config_rows(parts: list[_Part]) -> list[tuple[str, ...]]:
    rows = []
    for name, chosen in _configs(parts).items():
        counts = Counter(dict.fromkeys(_splits(parts), 0))
        for part in chosen:
            counts[part.split] += part.num_rows
        rows.append((f"`{name}`", *(f"{counts[split]:,}" for split in _splits(parts))))
    return rows


def _columns(described: list[dict[str, str]]) -> str:
    rows = [(f"`{c['name']}`", c["type"], c["unit"], cell(c["description"], 1000)) for c in described]
    table = markdown_table(("column", "type", "unit", "what it says"), rows)
    return f"## Columns\n\n{table}\n\n{CHECKSUMS}\n"


CHECKSUMS = "`SHA256SUMS` has the checksum of every file (`sha256sum -c SHA256SUMS`), `export.json` the counts."
