"""Write a dataset's report: one HTML file that needs nothing else and runs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from aria_data.errors import AriaDataError
from aria_data.manifest import Manifest, Version
from aria_data.midi import SUSTAIN, read_midi
from aria_data.storage import local_copy, printable, write_whole
from flows.report.changes import changes_of
from flows.report.charts import Chart, chart_of, command, entry, shown_value
from flows.report.figures import BARS, CHANGES, DISTRIBUTIONS, HISTOGRAM, TABLE, TOTALS, Figure, Section, sections
from flows.report.views import open_views, select
from flows.show import crawl_tree

NUM_SAMPLED = 200  # files whose notes are read for the distributions of pitch and velocity
MAX_TREE_LINES = 200


def write_report(root: Path, output: Path, version: int | str | None = None) -> Path:
    """Write the report of a version (by default the newest) of the dataset at `root`; gives `output`.

    Raises `DatasetNotFound` where there is no built dataset, `UsageError` for an unknown version.
    """
    manifest = Manifest(root)
    with open_views(root, version) as connection:
        about = manifest.versions()[manifest.number_of(version) - 1]
        totals = select(connection, TOTALS).to_pylist()[0]
        names = [manifest.column_names(number) for number in (about.number, about.number - 1) if number]
        shown = [_drawn(each, connection, root, version) for each in sections(*names)]
        if about.number > 1:
            _of(shown, CHANGES).extend(changes_of(root, about, connection))
    _of(shown, DISTRIBUTIONS).extend(_notes_of_a_sample(root, about.number))
    for title, figure in (("The crawl", _crawl(root)), ("Costs", _costs(root))):
        if figure is not None:
            shown.append({"title": title, "note": "", "figures": [figure]})
    write_whole(output, _rendered(root, about, totals, shown).encode())
    return output


def _drawn(section: Section, connection: Any, root: Path, version: int | str | None) -> dict[str, Any]:
    named = [] if version is None else ["--version", str(version)]
    figures = [
        entry(each, chart_of(each, select(connection, each.sql)), command(root, "sql", *named, last=each.sql))
        for each in section.figures
    ]
    return {"title": section.title, "note": section.note, "figures": figures}


def _of(shown: list[dict[str, Any]], title: str) -> list[dict[str, Any]]:
    """The figures of the section with this title."""
    return next(each for each in shown if each["title"] == title)["figures"]


def _notes_of_a_sample(root: Path, version: int) -> list[dict[str, Any]]:
    """The pitches, velocities and pedal of some files drawn at random: the manifest does not hold them."""
    import numpy as np
    import pyarrow as pa

    from aria_data import Dataset

    pitches, velocities, pedalled = [], [], []
    for row in Dataset(root, version).sample(NUM_SAMPLED, 0, "midi_path IS NOT NULL"):
        try:
            played = read_midi(root / row["midi_path"])
        except (AriaDataError, OSError):
            continue  # `doctor` and the build speak of damaged files
        pitches += [note.pitch for note in played.notes]
        velocities += [note.velocity for note in played.notes]
        down_s = sum(pedal.offset_s - pedal.onset_s for pedal in played.pedals if pedal.controller == SUSTAIN)
        pedalled.append(min(1.0, down_s / max(played.end_s, 1e-9)))
    numbered = ("-n", str(NUM_SAMPLED), "--seed", "0", "--version", str(version), "--format", "paths")
    drawn = command(root, "sample", *numbered)
    figures = []
    for title, values, what in (
        ("pitch", pitches, "notes"), ("velocity", velocities, "notes"), ("share of time with pedal", pedalled, "files")
    ):  # fmt: skip
        figure = Figure(title, HISTOGRAM, "", f"Of {len(pedalled):,} files drawn at random.")
        chart = chart_of(figure, pa.table({"value": np.array(values, float)}))
        chart.summary = chart.summary.replace("files", what)
        figures.append(entry(figure, chart, drawn))
    return figures


def _crawl(root: Path) -> dict[str, Any] | None:
    if not (root / "crawl" / "frontier.sqlite").exists():
        return None
    lines = list(crawl_tree.draw(root, "text"))
    chart = Chart("text", [], [[line] for line in lines[:MAX_TREE_LINES]], num_more=max(0, len(lines) - MAX_TREE_LINES))
    figure = Figure("leads that were followed, and what they gave", "text", "")
    return entry(figure, chart, command(root, "tree"))


def _costs(root: Path) -> dict[str, Any] | None:
    from aria_data.llm.ledger import Ledger

    if not (root / "llm" / "ledger.sqlite").is_file():
        return None
    ledger = Ledger(local_copy(root / "llm" / "ledger.sqlite"))
    try:
        rows = ledger.table()
    finally:
        ledger.close()
    chart = Chart(TABLE, ["model", "task", "requests", "tokens read", "tokens written", "dollars"])
    for row in rows:
        counts = (row.num_requests, row.prompt_tokens, row.completion_tokens)
        texts = [shown_value(row.model), shown_value(row.task)]
        chart.rows.append([*texts, *(f"{count:,}" for count in counts), f"{row.picodollars / 1e12:.6f}"])
    figure = Figure("language models", TABLE, "")
    return entry(figure, chart, command(root, "costs"))


def _rendered(root: Path, about: Version, totals: dict[str, Any], shown: list[dict[str, Any]]) -> str:
    from jinja2 import Environment, StrictUndefined

    folder = resources.files("flows.report")
    style, script = ((folder / name).read_text("utf-8") for name in ("report.css", "report.js"))
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((folder / "report.html.j2").read_text("utf-8")).render(
        name=printable(root.resolve().name, 80),
        about=about,
        label=printable(str(about.facts.get("name") or ""), 80),
        totals={name: shown_value(value) for name, value in totals.items()},
        sections=shown,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_hash_of(style)}'; script-src '{_hash_of(script)}'",
        BARS=BARS,
        HISTOGRAM=HISTOGRAM,
    )


def _hash_of(text: str) -> str:
    """The source that a Content-Security-Policy allows: this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
