"""The command that compares what would be trained on. Thin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from flows.cli.base import Examples, device_option


@click.command(
    cls=Examples,
    examples="""
    aria-data compare dataset/ --subsets el2n_30,third --out comparison/
    aria-data compare dataset/ --methods group_random,el2n:top,el2n:calibrated:0.1 --keep 0.5,0.3,0.1 --out comparison/
    aria-data compare midi_folder/ --methods group_random,loss:window --keep 0.1 --steps 200 --out comparison/
    """,
)
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--subsets", "names", default="", help="Named subsets of a dataset, with commas between.")
@click.option("--methods", default="", help="Methods to try: METHOD or SCORE:METHOD, with commas between.")
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
    pool = _pool(source, version, wanted, bool(chosen))
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
            lambda line: click.echo(line, err=True),
            os.cpu_count() or 1,
        )
    if as_json:
        click.echo((out / "comparison.json").read_text())
    else:
        for line in terminal_lines(found):
            click.echo(line)
        click.echo(f"Written to {out}: report.md, losses.csv, comparison.json, loss.svg")


def _pool(source: Path, version: str | None, names: list[str], has_methods: bool) -> Any:
    from aria_data.errors import UsageError
    from flows import compare_subsets as comparing

    if not names and not has_methods:
        raise UsageError("Say what to compare: --subsets NAMES of a dataset, or --methods.")
    if (source / "manifest").is_dir():
        return comparing.pool_of_dataset(source, version, names)
    if names:
        raise UsageError(f"{source}: is no dataset, so it has no --subsets. Try --methods.")
    return comparing.pool_of_folder(source)


def _shares(keep: str) -> list[float]:
    from aria_data.errors import UsageError

    try:
        shares = [float(text) for text in keep.split(",") if text.strip()]
    except ValueError as error:
        raise UsageError(f"--keep {keep}: write shares between 0 and 1 with commas between.") from error
    if not shares or not all(0 < share <= 1 for share in shares):
        raise UsageError(f"--keep {keep}: write shares between 0 and 1 with commas between.")
    return shares
