"""Commands that train to see what training on less costs: subsets compared, attributions checked. Thin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from flows.cli.base import Examples, device_option

exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Of a folder: leave out files whose name or path below it matches, as '*score*.mid'.",
)


@click.command(
    cls=Examples,
    examples="""
    aria-data compare dataset/ --subsets el2n_30,third --out comparison/
    aria-data compare dataset/ --methods group_random,el2n:top,el2n:calibrated:0.1 --keep 0.5,0.3,0.1 --out comparison/
    aria-data compare midi_folder/ --list mine=chosen.txt --methods longest,loss:middle --keep 0.1 --out comparison/
    aria-data compare asap/ --exclude midi_score.mid --methods group_random,loss:window --keep 0.1 --out comparison/
    """,
)
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--subsets", "names", default="", help="Named subsets of a dataset, with commas between.")
@click.option("--methods", default="", help="Methods to try: METHOD or SCORE:METHOD, with commas between.")
@click.option(
    "--list",
    "lists",
    multiple=True,
    metavar="NAME=FILE",
    help="A choice of your own: a text file with an id a line, or id, tab, weight.",
)
@exclude_option
@click.option("--keep", default="0.3", show_default=True, help="Shares that methods keep, with commas between.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A folder for the report and what is trained."
)
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--steps", default=400, show_default=True, type=click.IntRange(min=1), help="Of every training.")
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(min=1), help="Trainings of each subset.")
@click.option("--draws", default=3, show_default=True, type=click.IntRange(min=3), help="Random draws of each size.")
@click.option("--score-steps", type=click.IntRange(min=1), help="Of a model that scores; 2.4 epochs, at least 600.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(
    source: Path,
    names: str,
    methods: str,
    lists: tuple[str, ...],
    exclude: tuple[str, ...],
    keep: str,
    out: Path,
    version: str | None,
    steps: int,
    seeds: int,
    draws: int,
    score_steps: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Compare subsets by training a small model on each.

    And on random files beside it; all are tested on pieces that no model was trained on.
    SOURCE is a dataset, or any folder of MIDI files, in which files of one folder are one piece. Says "no difference"
    where intervals do not tell. Writes report.md, losses.csv, comparison.json and loss.svg. Stopped, it goes on where
    it was.
    """
    from aria_data.compare import CompareConfig
    from aria_data.compare.comparison_report import terminal_lines
    from aria_data.pruning.seeds import ScoringConfig
    from aria_data.surrogate import SurrogateConfig
    from flows import compare_subsets as comparing
    from flows import show

    chosen = [comparing.Method.parse(text) for text in methods.split(",") if text.strip()]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    pool = comparing.with_lists(_pool(source, version, wanted, bool(chosen or lists), exclude), _files_of(lists))
    surrogate = SurrogateConfig(device=device)
    config = CompareConfig(num_steps=steps, num_seeds=seeds, num_draws=draws, surrogate=surrogate)
    with show.parts() as progress:
        found = comparing.compare_subsets(
            pool,
            chosen,
            _shares(keep),
            out,
            config,
            ScoringConfig(surrogate=SurrogateConfig(device=device, num_steps=score_steps)),
            progress,
            _announce,
            os.cpu_count() or 1,
        )
    if as_json:
        click.echo((out / "comparison.json").read_text())
    else:
        for line in terminal_lines(found):
            click.echo(line)
        click.echo(f"Written to {out}: report.md, losses.csv, comparison.json, loss.svg")


@click.command(
    "check-scores",
    cls=Examples,
    examples="""
    aria-data check-scores dataset/ --out check/
    aria-data check-scores midi_folder/ --parts 50 --steps 200 --out check/
    """,
)
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A folder for the report and what is trained."
)
@exclude_option
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--parts", default=32, show_default=True, type=click.IntRange(min=8), help="Random parts to train on.")
@click.option("--share", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Of the files, in a part.")
@click.option("--steps", default=400, show_default=True, type=click.IntRange(min=1), help="Of every training.")
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(min=1), help="Trainings of each part.")
@click.option("--models", default=2, show_default=True, type=click.IntRange(min=1), help="Models that attribute.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_scores(
    source: Path,
    out: Path,
    exclude: tuple[str, ...],
    version: str | None,
    parts: int,
    share: float,
    steps: int,
    seeds: int,
    models: int,
    device: str,
    as_json: bool,
) -> None:
    """Check whether influence foretells retraining.

    Random parts of the files are trained on; the sum of the influences of a part's files foretells the loss of each
    file tested on. The linear datamodelling score is Spearman's rho of both. Beside influence it is shown for simpler
    attributions, for likeness of notes without a model, and for what does not look at the files tested on. Also says
    which of them name the same files whatever is tested on. Writes scores.md and scores.json. Stopped, it goes on
    where it was.
    """
    from aria_data.compare.attribution_check import CheckConfig
    from aria_data.compare.check_report import terminal_lines
    from aria_data.surrogate import SurrogateConfig
    from flows import check_scores as checking
    from flows import show
    from flows.compare_subsets import pool_of

    pool = pool_of(source, version, exclude=exclude, announce=_announce)
    config = CheckConfig(parts, share, seeds, models, steps, surrogate=SurrogateConfig(device=device))
    with show.parts() as progress:
        found = checking.check_scores(pool, out, config, progress, _announce, os.cpu_count() or 1)
    if as_json:
        click.echo((out / "scores.json").read_text())
        return
    for line in terminal_lines(found):
        click.echo(line)
    click.echo(f"Written to {out}: scores.md, scores.json")


def _announce(line: str) -> None:
    click.echo(line, err=True)


def _pool(source: Path, version: str | None, names: list[str], has_methods: bool, exclude: Sequence[str]) -> Any:
    from aria_data.errors import UsageError
    from flows import compare_subsets as comparing

    if not names and not has_methods:
        raise UsageError("Say what to compare: --subsets NAMES of a dataset, --methods, or --list NAME=FILE.")
    if names and not (source / "manifest").is_dir():
        raise UsageError(f"{source}: is no dataset, so it has no --subsets. Try --methods.")
    return comparing.pool_of(source, version, names, exclude, _announce)


def _files_of(lists: tuple[str, ...]) -> dict[str, Path]:
    from aria_data.errors import UsageError

    pairs = [text.partition("=") for text in lists]
    if wrong := next((text for text, (name, _, path) in zip(lists, pairs, strict=True) if not name or not path), None):
        raise UsageError(f"--list {wrong}: write NAME=FILE.")
    return {name: Path(path) for name, _, path in pairs}


def _shares(keep: str) -> list[float]:
    from aria_data.errors import UsageError

    try:
        shares = [float(text) for text in keep.split(",") if text.strip()]
    except ValueError as error:
        raise UsageError(f"--keep {keep}: write shares between 0 and 1 with commas between.") from error
    if not shares or not all(0 < share <= 1 for share in shares):
        raise UsageError(f"--keep {keep}: write shares between 0 and 1 with commas between.")
    return shares
