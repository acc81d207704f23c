"""Parquet shards with the MIDI bytes in a column, and a dataset card; `datasets.load_dataset(out)` reads it.

Subsets are configurations and no copies: a row lies once, in the folder of the narrowest subset it belongs to, and a
configuration names the folders that it is made of. The card's front matter holds only words of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.dataset import Dataset, statistics
from aria_data.exports.writing import Exported, Progress, Writer, exported, exported_columns, new_export, splits_of
from aria_data.files import printable
from aria_data.licences import licence_code
from aria_data.manifest import columns

ROWS_PER_SHARD = 10_000
ROWS_PER_GROUP = 500  # written, and read by others, at once
MIDI = "midi"
LEVELS = (("unique", "in_unique"), ("deduplicated", "in_deduplicated"), ("pruned", "in_pruned"), ("full", ""))
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LICENCE_IDS = {"cc0": "cc0-1.0", "unknown": "unknown"}  # of huggingface.co; other codes of ours name no version
MAX_LISTED = 20  # composers and licences shown in the card


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one level and one split."""

    level: str
    split: str
    num_rows: int
    num_bytes: int  # in memory


def export(dataset: Dataset, out: Path | str, where: str = "", progress: Progress | None = None) -> Exported:
    """Write `data/<level>/<split>-00000-of-00003.parquet` and the card `README.md`."""
    with new_export(dataset, out, where, "huggingface", progress) as writer:
        parts = [
            _write_part(writer, level, split, rows)
            for level, rows in _levels(writer.selection.table)
            for split in splits_of(rows)
        ]
        writer.write("README.md", card(writer.selection.table, parts, dataset.version, where).encode())
    return exported(writer, dataset, out, "huggingface")


def _levels(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Take the rows apart, each to the narrowest subset that it is in."""
    for level, column in LEVELS:
        is_in = pc.fill_null(table[column], False) if column else pa.chunked_array([pa.repeat(True, len(table))])
        yield level, table.filter(is_in)
        table = table.filter(pc.invert(is_in))


def _write_part(writer: Writer, level: str, split: str, rows: pa.Table) -> _Part:
    rows = rows.filter(pc.equal(rows["split"], split))
    num_shards, num_bytes = -(-rows.num_rows // ROWS_PER_SHARD), 0
    for number in range(num_shards):
        shard = rows.slice(number * ROWS_PER_SHARD, ROWS_PER_SHARD)
        num_bytes += _write_shard(writer, f"data/{level}/{split}-{number:05d}-of-{num_shards:05d}.parquet", shard)
    return _Part(level, split, rows.num_rows, num_bytes)


def _write_shard(writer: Writer, name: str, rows: pa.Table) -> int:
    import pyarrow.parquet as pq

    schema = rows.select(exported_columns()).schema.remove_metadata().append(pa.field(MIDI, pa.binary()))
    num_bytes = 0
    with (
        writer.large_file(name, rows.num_rows) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as file,
    ):
        for start in range(0, rows.num_rows, ROWS_PER_GROUP):
            chunk = rows.slice(start, ROWS_PER_GROUP)
            midis = pa.array(writer.midis(chunk), pa.binary())
            group = chunk.select(exported_columns()).append_column(schema.field(MIDI), midis).combine_chunks()
            file.write_table(group, row_group_size=ROWS_PER_GROUP)
            num_bytes += group.nbytes
    return num_bytes


# ---------------------------------------------------------------- the card


def card(table: pa.Table, parts: list[_Part], version: int, where: str) -> str:
    """Write the dataset card: front matter for programs, figures and limits for people."""
    counts = statistics(table)
    template = resources.files("aria_data.exports").joinpath("card.md").read_text(encoding="utf-8")
    return _front_matter(counts, parts) + template.format(
        version=version,
        condition=f", those for which {_cell(where, 1000)} holds" if where.strip() else "",
        num_files=f"{counts['num_files']:,}",
        hours=f"{counts['hours']:,.1f}",
        num_notes=f"{counts['num_notes']:,}",
        num_recordings=f"{counts['num_recordings']:,}",
        configs=_table(("configuration", *_splits(parts)), _config_rows(parts)),
        licences=_group_table("licence, as the source states it", counts["by"]["licence"], "none stated"),
        composers=_group_table("composer", counts["by"]["composer"], "not known"),
        measures=_measure_table(counts["measures"]),
        columns=_column_table(),
    )


def _front_matter(counts: dict[str, Any], parts: list[_Part]) -> str:
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
        *(line for name in configs for line in _info_lines(name, configs[name])),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _licence_lines(groups: dict[str, dict[str, Any]]) -> list[str]:
    """Name one licence only where all rows have it; never more generous than the text."""
    codes = {licence_code(text) for text in groups}
    if len(codes) == 1 and (known := LICENCE_IDS.get(next(iter(codes)))):
        return [f"license: {known}"]
    name = next(iter(codes)) if len(codes) == 1 else "several"
    return ["license: other", f"license_name: {name}", "license_link: README.md"]


def _configs(parts: list[_Part]) -> dict[str, list[_Part]]:
    """Each configuration with its parts, the widest first; a subset without rows has none."""
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


def _info_lines(name: str, parts: list[_Part]) -> Iterator[str]:
    kinds = {column["name"]: column["type"] for column in columns()}
    yield f"- config_name: {name}"
    yield "  features:"
    for column in exported_columns():
        yield from (f"  - name: {column}", f"    dtype: {kinds[column]}")
    yield from (f"  - name: {MIDI}", "    dtype: binary", "  splits:")
    for split in _splits(parts):
        chosen = [part for part in parts if part.split == split]
        yield f"  - name: {split}"
        yield f"    num_bytes: {sum(part.num_bytes for part in chosen)}"
        yield f"    num_examples: {sum(part.num_rows for part in chosen)}"
    yield f"  dataset_size: {sum(part.num_bytes for part in parts)}"


def _splits(parts: list[_Part]) -> list[str]:
    """In the order that people expect; others after them."""
    usual = ["train", "validation", "test"]
    found = {part.split for part in parts}
    return [split for split in usual if split in found] + sorted(found - set(usual))


def _config_rows(parts: list[_Part]) -> list[tuple[str, ...]]:
    rows = []
    for name, chosen in _configs(parts).items():
        counts = Counter(dict.fromkeys(_splits(parts), 0))
        for part in chosen:
            counts[part.split] += part.num_rows
        rows.append((f"`{name}`", *(f"{counts[split]:,}" for split in _splits(parts))))
    return rows


def _group_table(title: str, groups: dict[str, dict[str, Any]], unnamed: str) -> str:
    shown = list(groups.items())[:MAX_LISTED]
    rows = [(_cell(name) or unnamed, f"{group['num_files']:,}", f"{group['hours']:,.2f}") for name, group in shown]
    if rest := list(groups.values())[MAX_LISTED:]:
        hours = sum(group["hours"] for group in rest)
        rows.append((f"{len(rest):,} others", f"{sum(group['num_files'] for group in rest):,}", f"{hours:,.2f}"))
    return _table((title, "files", "hours"), rows)


def _measure_table(measures: dict[str, dict[str, Any]]) -> str:
    names = ("p5", "median", "p95", "mean")
    rows = [
        (f"`{measure}`", *("" if found[name] is None else f"{found[name]:.4g}" for name in names))
        for measure, found in measures.items()
    ]
    return _table(("measure", "5 % are below", "median", "95 % are below", "mean"), rows)


def _column_table() -> str:
    chosen = [column for column in columns() if column["name"] in exported_columns()]
    rows = [(f"`{c['name']}`", c["type"], c["unit"], _cell(c["description"], 1000)) for c in chosen]
    return _table(("column", "type", "unit", "what it says"), [*rows, (f"`{MIDI}`", "binary", "", "the MIDI file")])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _cell(text: str, limit: int = 80) -> str:
    """Text from outside as one cell that is neither markup nor a link."""
    shown = printable(text, limit).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in "\\`*_[]{}|~#!" else char for char in shown)
