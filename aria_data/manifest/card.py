"""The dataset card: a description of one version for people, as Markdown. Text from outside is escaped.

The card states what is not known. `aria_data.exports.huggingface` adds front matter and the format's own sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.figures import COUNTED, statistics
from aria_data.manifest.manifest import Row, Version
from aria_data.manifest.rows import table_of
from aria_data.manifest.stored_rows import StoredColumns
from aria_data.storage import printable
from aria_data.web import licence_code

TITLE = "Piano MIDI, transcribed from recordings"
TEXTS = ("title", "name", "contact", "citation")  # keys of facts: title of the dataset, name of the version
TABLES = {"models": "model", "prompts": "prompt", "code": "code", "libraries": "library", "counts": "count"}
MAX_LISTED = 20  # composers, licences, sources and so on
MAX_SETTINGS = 200  # of a configuration
MAX_CELL_CHARS = 80
MAX_DEPTH = 4  # of nested settings; deeper ones are shown as one value
NOT_SAID = "not stated"
QUANTILES = {"p5": "5 % are below", "median": "median", "p95": "95 % are below", "mean": "mean"}
SUBSETS = {
    "in_pruned": "passes light limits of quality",
    "in_deduplicated": "also passes heavy ones; copies are left out",
    "in_unique": "also with a known composition",
}
MODEL_COLUMNS = (  # what a model did; the manifest's columns with its name and the sha256 of its weights
    ("transcribes", "transcriber", "transcriber_sha256"),
    ("classifies", "", "classifier_sha256"),
    ("reads titles", "annotation_source", ""),
)
# All columns that a card reads, besides users' subsets and weights.
DESCRIBED = (*COUNTED, *(name for _, *names in MODEL_COLUMNS for name in names if name))
_MARKUP = frozenset("\\`*_[]|~#!$")
_LINKS = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)  # text that GitHub turns into links


def dataset_card(
    rows: pa.Table | StoredColumns | Iterable[Row],
    version: Version | int,
    facts: Mapping[str, Any] | None = None,
    where: str = "",
    sections: Sequence[str] = (),
) -> str:
    """Describe manifest rows as Markdown; removed rows are only counted. `where` is the condition that chose the rows.

    A table has at least the columns `DESCRIBED`.

    `facts` default to the version's own. They may have the keys in `TEXTS` (strings), and those in `TABLES`, config and
    exclusions (mappings, or lists of them). `sections`, which are Markdown, come after the summary.
    """
    if facts is None:
        facts = version.facts if isinstance(version, Version) else {}
    table = rows if isinstance(rows, pa.Table | StoredColumns) else table_of(list(rows))
    present = table.filter(pc.is_null(table["removed_in"]))
    counts = statistics(present)
    parts = (
        f"# {cell(facts.get('title') or TITLE)}",
        _summary(counts, _called(version, facts), where, len(table) - len(present)),
        *sections,
        _how_made(present, facts),
        _contents(present, counts),
        _quality(counts),
        _licences(counts),
        _left_out(present, facts),
        LIMITS,
        _removal(facts),
        _citing(facts, version, counts),
    )
    return "\n\n".join(parts) + "\n"


def _summary(counts: Mapping[str, Any], called: str, where: str, num_removed: int) -> str:
    text = (
        f"{counts['num_files']:,} MIDI files, {counts['hours']:,.1f} hours, {counts['num_notes']:,} notes, of "
        f"{counts['num_recordings']:,} recordings of solo piano; {counts['num_compositions']:,} known compositions. "
        f"This is {called} of a dataset made with `aria-data`"
    )
    if where.strip():
        text += f", those rows for which {cell(where, 1000)} holds"
    return text + (f"; {num_removed:,} more were removed." if num_removed else ".")


def _called(version: Version | int, facts: Mapping[str, Any]) -> str:
    """The version's number, its name and the hash of its rows."""
    number = version.number if isinstance(version, Version) else version
    text = f"version {number}" + (f", called {cell(facts['name'])}" if facts.get("name") else "")
    return text + (f" (sha256 of its rows: {_code(version.content_sha256)})" if isinstance(version, Version) else "")


# ---------------------------------------------------------------- how it was made


def _how_made(table: pa.Table | StoredColumns, facts: Mapping[str, Any]) -> str:
    parts = ["## How it was made", STAGES, markdown_table(("model", "name", "sha256", "files"), _model_rows(table))]
    for key, title in TABLES.items():
        if facts.get(key):
            parts.append(_values_table(title, facts[key]))
    counts = facts.get("counts")
    precisions = counts.get("precisions") if isinstance(counts, Mapping) else None
    if mixed := mixed_precisions(precisions if isinstance(precisions, Mapping) else {}):
        parts.append(cell(mixed, 1000))
    if not facts.get("code"):
        parts.append(f"Version of the code: {NOT_SAID}.")
    if facts.get("config"):
        parts += ["### Configuration", _values_table("setting", facts["config"])]
    else:
        parts.append(f"Configuration: {NOT_SAID}.")
    return "\n\n".join(parts)


def _model_rows(table: pa.Table | StoredColumns) -> list[tuple[str, ...]]:
    """What each model did and to how many files; those after `MAX_LISTED` of a kind are summed."""
    found: list[tuple[str, ...]] = []
    for what, *names in MODEL_COLUMNS:
        columns = {each: pc.fill_null(table[each], "") for each in names if each}
        groups = pa.table(columns).group_by(list(columns)).aggregate([([], "count_all")])
        groups = groups.sort_by([("count_all", "descending"), *((each, "ascending") for each in columns)])
        for group in groups.slice(0, MAX_LISTED).to_pylist():
            name, sha256 = (str(group.get(each) or "") for each in names)
            found.append((what, cell(name) or "", _code(sha256) if sha256 else "", f"{group['count_all']:,}"))
        if rest := groups["count_all"].to_pylist()[MAX_LISTED:]:
            found.append((what, f"{len(rest):,} others", "", f"{sum(rest):,}"))
    return found


def mixed_precisions(precisions: Mapping[str, int]) -> str:
    """Say in a line that files were transcribed in several kinds of number, counted by kind; "" where it is one."""
    if len(precisions) < 2:
        return ""
    counted = ", ".join(f"{number} in {name}" for name, number in precisions.items())
    return (
        f"Notes were computed in several kinds of number ({counted}), which round differently: a comparison of files "
        f"may show that. Build with --dtype {next(iter(precisions))} to stay with one."
    )


def _values_table(title: str, values: Any) -> str:
    rows = list(_flat(values))
    shown = [(_code(name) if name else "", cell(value)) for name, value in rows[:MAX_SETTINGS]]
    if len(rows) > MAX_SETTINGS:
        shown.append((f"{len(rows) - MAX_SETTINGS:,} more", ""))
    return markdown_table((title, "value"), shown)


def _flat(values: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield nested settings as `("segment.min_segment_s", "30.0")`; a member of a list is called by its `name`."""
    for key, value in _members(values) if depth < MAX_DEPTH else ():
        yield from _flat(value, f"{name}.{key}" if name else key, depth + 1)
    if depth >= MAX_DEPTH or not _members(values):
        yield name, ", ".join(map(str, values)) if isinstance(values, (list, tuple)) else str(values)


def _members(values: Any) -> list[tuple[str, Any]]:
    if is_dataclass(values) and not isinstance(values, type):
        values = asdict(values)
    if isinstance(values, Mapping):
        return [(str(key), value) for key, value in values.items()]
    if isinstance(values, (list, tuple)) and any(isinstance(each, Mapping) or is_dataclass(each) for each in values):
        return [_named(each, number) for number, each in enumerate(values, 1)]
    return []


def _named(value: Any, number: int) -> tuple[str, Any]:
    """A member of a list with its `name`, which is taken out of its settings, or else its number."""
    members = dict(_members(value))
    name = str(members.pop("name", "")) or str(number)
    return name, members or value


# ---------------------------------------------------------------- what is in it


def _contents(table: pa.Table | StoredColumns, counts: Mapping[str, Any]) -> str:
    groups = counts["by"]
    subsets = [
        (_code(name), SUBSETS.get(name, "chosen for some purpose"), *_figures(group))
        for name, group in groups["subset"].items()
    ]
    parts = [
        "## What is in it",
        group_table("split", groups["split"], "none"),
        markdown_table(("subset", "what it is", "files", "hours"), subsets),
        "Of the first three, each is part of the one before. A work, a recording and its copies share a split.",
        group_table("composer, as read from the text", groups["composer"], "not known"),
        group_table("period", groups["period"], "not known"),
        group_table("source", groups["source"], NOT_SAID),
    ]
    return "\n\n".join(parts)


def _quality(counts: Mapping[str, Any]) -> str:
    rows = [
        (_code(measure), f"{found['num_known']:,}", *(_figure(found[name]) for name in QUANTILES))
        for measure, found in counts["measures"].items()
    ]
    table = markdown_table(("measure", "files", *QUANTILES.values()), rows)
    return f"## Quality\n\nEstimates by machine; nobody has listened to all of it.\n\n{table}"


def _licences(counts: Mapping[str, Any]) -> str:
    groups: dict[str, Mapping[str, Any]] = counts["by"]["licence"]
    hours = sum(group["hours"] for text, group in groups.items() if licence_code(text) == "unknown")
    table = group_table("licence, as the source states it", groups, "none stated")
    unknown = f"For {hours:,.2f} hours the source states no licence: that is no permission."
    return f"## Licences\n\n{table}\n\n{unknown} {RIGHTS}"


def group_table(title: str, groups: Mapping[str, Mapping[str, Any]], unnamed: str) -> str:
    """A table of names from outside with files and hours, in the given order; those after `MAX_LISTED` are summed."""
    shown, rest = list(groups.items())[:MAX_LISTED], list(groups.values())[MAX_LISTED:]
    rows = [(cell(name) or unnamed, *_figures(group)) for name, group in shown]
    if rest:
        files, hours = (sum(group[name] for group in rest) for name in ("num_files", "hours"))
        rows.append((f"{len(rest):,} others", f"{files:,}", f"{hours:,.2f}"))
    return markdown_table((title, "files", "hours"), rows)


def _figures(group: Mapping[str, Any]) -> tuple[str, str]:
    return f"{group['num_files']:,}", f"{group['hours']:,.2f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


# ---------------------------------------------------------------- what is not in it, and what to do


def _left_out(table: pa.Table | StoredColumns, facts: Mapping[str, Any]) -> str:
    num_excluded = pc.sum(pc.equal(pc.fill_null(table["split"], ""), "excluded")).as_py() or 0
    lists = facts.get("exclusions") or _lists_named(facts.get("config"))
    if not lists and not num_excluded:
        return "## Benchmarks\n\nNo benchmark was kept out of the splits: compare with none that may be part of this."
    table_of_lists = _values_table("exclusion list", lists) if lists else ""
    return f"## Benchmarks\n\n{num_excluded:,} files {BENCHMARKS}\n\n{table_of_lists}".rstrip()


def _lists_named(config: Any) -> Any:
    release = config.get("release") if isinstance(config, Mapping) else None
    return release.get("exclude") if isinstance(release, Mapping) else None


def _removal(facts: Mapping[str, Any]) -> str:
    ask = f"Write to {cell(facts['contact'], 300)}" if facts.get("contact") else NO_CONTACT
    return f"## Removal\n\n{ask}; name the `segment_id`, the `recording_id` or the `source_url`. {REMOVAL}"


def _citing(facts: Mapping[str, Any], version: Version | int, counts: Mapping[str, Any]) -> str:
    if facts.get("citation"):
        return f"## Citing\n\nPlease cite: {cell(facts['citation'], 2000)}"
    return (
        f"## Citing\n\nName the dataset and its version: {cell(facts.get('title') or TITLE)}, "
        f"{_called(version, facts)}, {counts['num_files']:,} files, transcribed with aria-data. {ATTRIBUTION}"
    )


# ---------------------------------------------------------------- Markdown


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Its cells must be Markdown already: see `cell`."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def cell(text: object, limit: int = MAX_CELL_CHARS) -> str:
    """Escape text from outside, so that it is one line of plain text: no markup, no HTML, no link."""
    shown = printable(str(text), limit).strip()
    if _LINKS.search(shown):
        return _code(shown, limit)
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in _MARKUP else char for char in escaped)


def _code(text: object, limit: int = MAX_CELL_CHARS) -> str:
    """Text as a code span. Characters that would end it, or a table's cell, are replaced by similar ones."""
    shown = printable(str(text), limit).replace("`", "'").replace("<", "‹").replace(">", "›").replace("|", "¦")
    return f"`{shown.strip()}`" if shown.strip() else ""


STAGES = """\
Recordings were found, decoded to their end and hashed; a classifier found the spans of solo piano; a model transcribed
their notes and pedal; the result was compared with the sound, and what is played was read from the text beside
the recording. No note was written down by a person."""
RIGHTS = """\
A transcription is subject to the rights in the recording and in the composition. The table says what the sources
state, and nothing has been checked beyond that; `source_url` names the source of each file."""
BENCHMARKS = """\
are in the split `excluded` and in no other, because an exclusion list names their composition or their notes. A
composition that no title tells, or that a wrong one hides, can still be in the other splits."""
LIMITS = """\
## Limits

- **Notes** were transcribed by a model: expect wrong, missing and added ones, more of them in noisy or reverberant
  recordings (`transcription_confidence`, `chroma_agreement`, `onset_agreement`, `missed_passage_s`).
- **Velocities** follow how loud the recording is, its microphones and its mastering; compare them within a file only.
- **Pedal** is a guess from how notes sound on; half pedal is lost.
- **Times** count from the segment's start. There are no bars, no beats and no hands.
- **Composer, title and the like** were read from text by rules or by a language model, and may be wrong or empty
  (`annotation_source`, `annotation_confidence`).
- **Copies** are found by sound and notes within limits; some stay."""
ATTRIBUTION = """\
Name the transcriber too, and the source of each recording where its licence asks for attribution (`source_url`,
`uploader`)."""
NO_CONTACT = "No address was given for this; ask where you got the dataset"
REMOVAL = """\
A removed file is deleted and its row says so for ever, in the next version; what the text said of it is emptied; the
order is kept, so that it does not come back. Copies that others have downloaded before are out of reach."""
