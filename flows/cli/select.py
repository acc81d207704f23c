"""Commands about training on less: score a dataset's files, select a subset by their scores. Thin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from flows.cli.base import DATASET, Examples, device_option, print_json

METHODS = (  # those of `aria_data.pruning.selection`; a test compares them
    "random",
    "group_random",
    "longest",
    "shortest",
    "top",
    "bottom",
    "window",
    "middle",
    "stratified",
    "score_proportional",
    "ht_proportional",
    "calibrated",
)


@click.command(
    cls=Examples,
    examples="""
    aria-data score dataset/
    aria-data score dataset/ --only el2n,loss,vog --seeds 2
    aria-data score dataset/ --where "in_deduplicated and split = 'train'" --table dedup
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--where", metavar="SQL", help="Which rows are scored; without it training rows in_pruned, no copies.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--only", default="", help="Columns to compute, with commas between; all without it.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Surrogates trained.")
@click.option(
    "--steps", type=click.IntRange(min=1), help="Training steps of a surrogate; else 2.4 epochs, at least 600."
)
@click.option(
    "--groups",
    default="composition",
    show_default=True,
    type=click.Choice(["composition", "recording", "none"]),
    help="What belongs together: held out together, and evened out by selections.",
)
@click.option("--table", default="", help="The score table's name; v<version> without it.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    dataset: Path,
    where: str | None,
    version: str | None,
    only: str,
    seeds: int,
    steps: int | None,
    groups: str,
    table: str,
    device: str,
    as_json: bool,
) -> None:
    """Score the files of a dataset, for `select`.

    Small models are trained on them; the scores are EL2N, GraNd, VoG, influence, effort and others (docs/pruning.md).
    About ten minutes for 1,000 files on two cores. Stopped and started again it goes on where it was; one more score
    trains nothing.
    """
    from aria_data.pruning.seeds import ScoringConfig
    from aria_data.surrogate import SurrogateConfig
    from flows import show
    from flows.select_subset import ScoreRequest, score_dataset

    names = tuple(name.strip() for name in only.split(",") if name.strip())
    given: dict[str, Any] = {} if where is None else {"where": where}
    request = ScoreRequest(version=version, groups=groups, seeds=seeds, only=names, table=table, **given)
    config = ScoringConfig(surrogate=SurrogateConfig(num_steps=steps, device=device))
    with show.parts() as progress:
        name, found = score_dataset(dataset, request, config, progress, os.cpu_count() or 1)
    if as_json:
        print_json({"table": name, "num_files": len(found), "columns": list(found.columns), **found.about})
    else:
        _print_scores(name, found)


def _print_scores(name: str, found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if os.isatty(1) else 120, highlight=False)
    console.print(f"Score table {name}: {len(found):,} files, high = keep.")
    agreement = found.about.get("seed_rank_correlation", {})
    table = Table("score", "files", "rank correlation from seed to seed", "with el2n")
    correlations = found.rank_correlations()
    for column, values in found.columns.items():
        rho = agreement.get(column)
        other = correlations[column].get("el2n")
        cells = ("" if value is None or value != value else f"{value:.2f}" for value in (rho, other))
        table.add_row(column, f"{int((values == values).sum()):,}", *cells)
    console.print(table)
    for line in [*found.about.get("warnings", ()), *found.about.get("left_out", {}).values()][:20]:
        click.echo(f"note: {line}", err=True)


@click.command(
    cls=Examples,
    examples="""
    aria-data select dataset/ --name third --method group_random --keep 0.3
    aria-data select dataset/ --name el2n_30 --score el2n --calibrate 0.1 --keep 0.3
    aria-data select dataset/ --name usual --score loss --method middle --keep 0.5
    aria-data select dataset/ --name long --method longest --minutes 600
    aria-data select dataset/ --name hard_600 --score loss --method window --offset 0.1 --minutes 600
    aria-data query dataset/ in_el2n_30 --columns segment_id,weight_el2n_30 --format csv
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--name", required=True, help="The subset's name: the columns in_NAME and weight_NAME.")
@click.option("--method", type=click.Choice(METHODS), help="How files are chosen (docs/pruning.md); group_random.")
@click.option("--score", "score_name", default="", help="The score that the method goes by: el2n, loss, vog ...")
@click.option("--calibrate", type=click.FloatRange(0, 1), help="--method calibrated with this share by score.")
@click.option("--keep", type=click.FloatRange(0, 1), help="At most this share of the files that were scored.")
@click.option("--files", type=click.IntRange(min=0), help="At most so many files.")
@click.option("--minutes", type=click.FloatRange(min=0), help="At most so many minutes.")
@click.option("--notes", type=click.IntRange(min=0), help="At most so many notes.")
@click.option("--offset", type=click.FloatRange(0, 1), help="window: the share of the hardest that is skipped (0.1).")
@click.option("--hard-cut", type=click.FloatRange(0, 1), help="stratified: the share of the hardest cut off (0.1).")
@click.option("--normalize", type=click.Choice(["none", "dataset", "group"]), help="Scores as they are, or evened out.")
@click.option("--min-score", type=float, help="Only files with at least this score.")
@click.option("--max-score", type=float, help="Only files with at most this score.")
@click.option("--min-per-group", type=click.IntRange(min=0), help="At least so many files of each composition.")
@click.option("--max-per-group", type=click.IntRange(min=0), help="At most so many files of each composition.")
@click.option("--include", multiple=True, metavar="ID", help="A file that is kept whatever its score.")
@click.option("--exclude", multiple=True, metavar="ID", help="A file that is left out.")
@click.option("--weights", help="own (default), exact, none, or clip:MAX.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws other files.")
@click.option("--table", default="", help="The score table; the one written last without it.")
@click.option(
    "--plots", type=click.Path(path_type=Path), help="Draw what is kept beside all, into this folder, as SVG."
)
@click.option("--reasons", is_flag=True, help="Print why each file was kept or left.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def select(
    dataset: Path,
    name: str,
    score_name: str,
    seed: int,
    table: str,
    plots: Path | None,
    reasons: bool,
    as_json: bool,
    **given,
) -> None:
    """Select a subset by the scores of its files.

    The scores are those of `aria-data score`; the subset is the columns in_NAME and weight_NAME of a new version.
    Multiply each file's loss by its weight: `Dataset.torch(..., weight="weight_NAME")`, `Selection.weights`. A
    selection knows the files that were scored; files that come later are not in it.
    """
    from aria_data.pictures import require_folder
    from aria_data.pruning.selection_plots import draw_selection
    from aria_data.pruning.selection_report import report_of
    from flows.select_subset import SelectRequest, select_subset

    if plots:
        require_folder(plots)
    request = SelectRequest(name, score_name, table, seed, _config_of(given, score_name))
    version, selection = select_subset(dataset, request)
    for line in selection.warnings:
        click.echo(f"note: {line}", err=True)
    for path in draw_selection(report_of(selection), plots) if plots else []:
        click.echo(f"drawn: {path}", err=True)
    if as_json:
        from dataclasses import asdict

        found = {"version": version, "num_files": len(selection.ids), "report": asdict(report_of(selection))}
        print_json(found | ({"reasons": selection.reasons} if reasons else {}), default=list)
        return
    if reasons:
        for key, reason in sorted(selection.reasons.items()):
            click.echo(f"{key}: {reason}")
    _print_selection(name, version, selection)


def _config_of(given: dict[str, Any], score_name: str) -> Any:
    from aria_data.errors import UsageError
    from aria_data.pruning import Budget, SelectConfig

    alpha, method = given.pop("calibrate"), given.pop("method")
    if alpha is not None and method not in (None, "calibrated"):
        raise UsageError(f"--calibrate is --method calibrated, and not {method}. Leave one of them away.")
    if alpha is not None:
        given |= {"alpha": alpha}
        method = "calibrated"
    elif method is None:
        method = "top" if score_name else "group_random"
    fraction = given.pop("keep")
    budget = Budget(fraction, *(given.pop(unit) for unit in ("files", "minutes", "notes")))
    settings = {key: value for key, value in given.items() if value is not None}
    return SelectConfig(method, budget, weights_mean_one=True, **settings)


def _print_selection(name: str, version: int, selection: Any) -> None:
    from aria_data.pruning import report_of

    report = report_of(selection)
    known = [group for group in report.groups if group.group]
    click.echo(f"in_{name} holds {len(selection.ids):,} of {len(selection.pool):,} scored files of version {version}:")
    click.echo(f"  minutes {report.minutes_kept:,.1f} of {report.minutes:,.1f}")
    click.echo(f"  notes {report.num_notes_kept:,} of {report.num_notes:,}")
    click.echo(f"  groups {sum(group.num_kept > 0 for group in known):,} of {len(known):,}")
    click.echo(f"  effective files, given their weights, {report.effective_num_files:,.1f}")
