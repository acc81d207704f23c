"""Commands that show a dataset to people: report, show, and SQL over all of its tables. Thin."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from flows.cli.base import DATASET, Examples, print_json


@click.command(
    cls=Examples,
    examples="""
    aria-data report dataset/
    aria-data report dataset/ --version spring --output spring.html
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file; DATASET/report.html without it.")
def report(dataset: Path, version: str | None, output: Path | None) -> None:
    """Write one HTML file that shows a version.

    What became of candidates, hours, distributions, composers, licences, splits and their leak check, copies, changes.
    It needs no network, and every figure names the command that gives its numbers.
    """
    from flows.report import write_report

    path = write_report(dataset, output or dataset / "report.html", version)
    click.echo(f"{path}: open it in a browser.")


@click.command(
    cls=Examples,
    examples="""
    aria-data show dataset/ local-3f6a90c1d2e4b577_0
    aria-data show dataset/ local-3f6a90c1d2e4b577_0 --json
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("segment_id", metavar="ID")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--width", type=click.IntRange(40, 400), help="Characters in a line; the terminal's width without it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the row, its notes and pedal presses.")
def show(dataset: Path, segment_id: str, version: str | None, width: int | None, as_json: bool) -> None:
    """Show one segment: its facts, and its notes as a piano roll."""
    from flows.report import piano_roll

    row, played = piano_roll.segment(dataset, segment_id, version)
    if as_json:
        print_json(piano_roll.as_json(row, played))
        return
    lines = [*piano_roll.facts(row), "", *piano_roll.roll(played, width or shutil.get_terminal_size((100, 24)).columns)]
    click.echo("\n".join(lines))


@click.command(
    cls=Examples,
    examples="""
    aria-data sql dataset/ "SELECT composer, count(*) AS files FROM present GROUP BY composer ORDER BY files DESC"
    aria-data sql dataset/ "SELECT reason, count(*) FROM rejections GROUP BY reason" --format csv
    aria-data sql dataset/ "SELECT stage, avg(x_real_time) FROM build_stages GROUP BY stage"
    aria-data sql dataset/ "DESCRIBE candidates"
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("text", metavar="QUERY")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--format", "format_", default="table", type=click.Choice(["table", "csv", "jsonl", "parquet"]))
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file. Needed for parquet.")
def sql(dataset: Path, text: str, version: str | None, format_: str, output: Path | None) -> None:
    """Answer a SELECT over all tables; it can only read.

    SQL is DuckDB's.
    Tables: manifest (with removed rows), present (without them), before (the version before), rejections, candidates,
    recordings, screenings, annotations, measures, alignments, reviews, builds, build_stages.
    """
    from flows.report.views import open_views, select
    from flows.show.output import write_table

    with open_views(dataset, version) as connection:
        table = select(connection, text)
    write_table(table, format_, output, dataset, all_columns=True)


@click.command(
    "reviews",
    cls=Examples,
    examples="""
    aria-data evaluate reviews dataset/
    aria-data evaluate reviews dataset/ --plots plots/ --json > figures.json
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--plots", type=click.Path(path_type=Path), help="Draw into this folder, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_reviews_command(dataset: Path, version: str | None, plots: Path | None, as_json: bool) -> None:
    """Judge a version by what people said in `browse`: the precision of its subsets and of thresholds, with intervals.

    The precision of a subset is right if its rows were drawn at random: `browse`, reviews, at random.
    """
    from aria_data.pictures import require_folder
    from flows.evaluate import reviews

    if plots:
        require_folder(plots)
    found = reviews.evaluate(dataset, version)
    if as_json:
        print_json(reviews.as_json(found))
    else:
        reviews.print_tables(found)
    for path in reviews.draw(found, plots) if plots else []:
        click.echo(f"drawn: {path}", err=True)


@click.command(
    cls=Examples,
    examples="""
    aria-data browse dataset/
    aria-data browse dataset/ --version spring --port 8765
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0: one that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address lets other machines in.")
@click.option("--yes", is_flag=True, help="Do not ask whether another --host is meant.")
def browse(dataset: Path, version: str | None, port: int, host: str, yes: bool) -> None:
    """Look at a version, listen to it and review it in a browser.

    Rows with filters; for each segment its notes over the recording's spectrogram, both to be played; what was rejected
    and why. Runs until Ctrl-C. Only who has the printed address is let in.
    """
    from flows.browse import serve

    if host not in ("127.0.0.1", "localhost", "::1") and not yes:
        question = f"Everyone who can reach {host} and learns the address can see and hear this dataset. Go on?"
        click.confirm(question, abort=True)
        click.confirm("The connection is not encrypted. Really?", abort=True)
    serve(dataset, host, port, version, lambda address: click.echo(f"open {address}\nCtrl-C ends it."))
