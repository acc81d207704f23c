"""Claims of five papers on data pruning, tested on piano performances.

    python benchmarks/data_pruning_music.py FOLDER [--files N] [--steps S] [--minutes M] [--out DIR]

FOLDER holds MIDI files; a folder within it is a composition. A fifth of the files, in whole compositions, is the test
set, a tenth the probe. Scores are computed with two seeds. Then files are selected by the papers' methods, and the same
small network is trained on each selection for the same number of steps, three times; losses are compared file by file.
In a copy of the pool 15 % of the files are damaged, to see which scores they get. DIR keeps results, so that a run that
was stopped goes on. 240 files and 110 steps take about 13 minutes of one core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.midi import Note, Performance, midi_bytes, read_midi
from aria_data.pruning import Budget, ScoreTable, SelectConfig, select
from aria_data.pruning.columns import ColumnsConfig
from aria_data.pruning.influence import InfluenceConfig
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.scoring import combine, rank_agreement
from aria_data.pruning.seeds import Material, ScoringConfig, score_seed
from aria_data.storage import write_whole
from aria_data.surrogate import SurrogateConfig, Windows, forward, make_windows, train
from aria_data.surrogate.training import disjoint_folds
from aria_data.surrogate.windows import Midi

SCORE_SEEDS = {"clean": (0, 1), "damaged": (2,)}  # a seed of scores costs as much as five training runs
ROUNDS = 3  # training runs on each selection; random files get two a round
FIRST_EXTRA_DRAW = 100
ALL = "all files"
DAMAGED_SHARE = 0.05  # of the files, for each kind of damage
EARLY_EPOCHS = (0.1, 0.25, 0.5, 1.0, 2.0)
SCORES = (
    *("loss", "el2n", "grand_token", "grand_window", "grand_file", "grand_full", "vog", "forgetting", "pvi"),
    *("tracin", "influence", "influence_train", "effort", "dealrec"),
)

Way = tuple[str, dict[str, Any]]  # a column of the score table, and settings of `SelectConfig`
TOP: dict[str, Any] = {"method": "top"}
TENTH: dict[str, Way] = {
    "random": ("random_0", {"method": "random"}),
    "group_random": ("random_0", {"method": "group_random"}),
    "EL2N top": ("el2n", TOP),
    "EL2N at 0.1 epoch, top": ("el2n_early", TOP),
    "EL2N window, hardest 10 % skipped": ("el2n", {"method": "window", "offset": 0.1}),
    "EL2N bottom": ("el2n", {"method": "bottom"}),
    "EL2N stratified": ("el2n", {"method": "stratified"}),
    "EL2N calibrated 0.1": ("el2n", {"method": "calibrated", "alpha": 0.1}),
    "EL2N calibrated 0.5": ("el2n", {"method": "calibrated", "alpha": 0.5}),
    "EL2N mixed 0.5, no weights": ("el2n", {"method": "calibrated", "alpha": 0.5, "weights": "none"}),
    "VoG top": ("vog", TOP),
    "VoG proportional": ("vog", {"method": "score_proportional"}),
    "DEALRec greedy": ("dealrec", TOP),
    "DEALRec stratified": ("dealrec", {"method": "stratified"}),
}
HALF = {name: TENTH[name] for name in ("random", "EL2N top", "EL2N at 0.1 epoch, top", "VoG top")}
DAMAGED: dict[str, Way] = {
    "random": TENTH["random"],
    "EL2N top": ("el2n", TOP),
    "EL2N middle": ("el2n", {"method": "window", "offset": 0.25}),
    "EL2N window, hardest 15 % skipped": ("el2n", {"method": "window", "offset": 0.15}),
    "EL2N bottom": ("el2n", {"method": "bottom"}),
    "EL2N stratified, nothing cut": ("el2n", {"method": "stratified", "hard_cut": 0.0}),
    "EL2N stratified, hardest 15 % cut": ("el2n", {"method": "stratified", "hard_cut": 0.15}),
    "loss middle": ("loss", {"method": "window", "offset": 0.25}),
}
_TRAINED_ON_DAMAGED = ("random", "EL2N top", "EL2N window, hardest 15 % skipped", "loss middle")
CLAIMS = (  # experiment, selection, compared with
    ("50 %", "EL2N top", ALL),
    ("50 %", "EL2N top", "random"),
    ("50 %", "random", ALL),
    ("50 %", "VoG top", "random"),
    ("10 %", "EL2N top", "random"),
    ("10 %", "EL2N at 0.1 epoch, top", "random"),
    ("10 %", "EL2N at 0.1 epoch, top", "EL2N top"),
    ("10 %", "EL2N window, hardest 10 % skipped", "EL2N top"),
    ("10 %", "EL2N stratified", "EL2N top"),
    ("10 %", "EL2N calibrated 0.1", "random"),
    ("10 %", "EL2N calibrated 0.5", "random"),
    ("10 %", "EL2N calibrated 0.1", "EL2N calibrated 0.5"),
    ("10 %", "VoG top", "random"),
    ("10 %", "DEALRec greedy", "random"),
    ("10 %", "DEALRec stratified", "DEALRec greedy"),
    ("50 % of the damaged pool", "EL2N window, hardest 15 % skipped", "EL2N top"),
    ("50 % of the damaged pool", "EL2N window, hardest 15 % skipped", "random"),
)


def scrambled(performance: Performance, rng: np.random.Generator) -> Performance:
    """The same pitches at random times; lengths and velocities are shuffled."""
    notes = performance.notes
    lengths = rng.permutation([note.offset_s - note.onset_s for note in notes])
    velocities = rng.permutation([note.velocity for note in notes])
    onsets = rng.uniform(0, performance.end_s, len(notes))
    parts = zip(notes, onsets.tolist(), lengths.tolist(), velocities.tolist(), strict=True)
    return Performance(sorted(Note(at, at + length, note.pitch, loud) for note, at, length, loud in parts))


def wrong_pitches(performance: Performance, rng: np.random.Generator) -> Performance:
    """Half the notes up to six semitones off."""
    steps = rng.choice([-1, 1], len(performance.notes)) * rng.integers(1, 7, len(performance.notes))
    steps *= rng.random(len(steps)) < 0.5
    pairs = zip(performance.notes, steps.tolist(), strict=True)
    return Performance(
        sorted(Note(n.onset_s, n.offset_s, min(108, max(21, n.pitch + step)), n.velocity) for n, step in pairs)
    )


def stuck(performance: Performance, rng: np.random.Generator) -> Performance:
    """One key, again and again, as from a transcriber that hangs."""
    pitch, gap_s = int(rng.integers(40, 80)), float(rng.uniform(0.05, 0.3))
    return Performance(
        [Note(n * gap_s, n * gap_s + 0.8 * gap_s, pitch, 64) for n in range(max(200, len(performance.notes)))]
    )


DAMAGES: dict[str, Callable[[Performance, np.random.Generator], Performance]] = {
    "scrambled": scrambled,
    "wrong pitches": wrong_pitches,
    "stuck note": stuck,
}


@dataclass(frozen=True)
class World:
    """The files, split by composition, and where results are kept."""

    pools: Mapping[str, Windows]  # "clean" and "damaged": the same ids
    probe: Windows
    test: Windows
    damages: Mapping[str, str]  # id -> kind, of the damaged pool
    surrogate: SurrogateConfig
    out: Path


@dataclass(frozen=True)
class Experiment:
    """Ways to choose the same share of one pool."""

    pool: str
    share: float
    ways: Mapping[str, Way]


EXPERIMENTS = {
    "10 %": Experiment("clean", 0.1, TENTH),
    "50 %": Experiment("clean", 0.5, HALF),
    "50 % of the damaged pool": Experiment("damaged", 0.5, {name: DAMAGED[name] for name in _TRAINED_ON_DAMAGED}),
}


def make_world(folder: Path, num_files: int | None, num_steps: int, out: Path) -> World:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.mid*") if path.is_file()}
    by_random_key = sorted(zip(random_keys(found, "files").tolist(), found, strict=True))
    files: dict[str, Midi] = {name: found[name] for _, name in by_random_key[:num_files]}
    groups = {name: Path(name).parent.as_posix() for name in files}
    windows = make_windows(files, groups=groups)
    probe, *tests = disjoint_folds(windows.groups, 0.1, 3, seed=0)
    test = sorted(number for fold in tests for number in fold)
    trained = np.setdiff1d(np.arange(len(windows.ids)), [*probe, *test])
    clean = windows.of_files(trained)
    damages = damages_of(clean.ids)
    for name, kind in damages.items():
        rng = np.random.default_rng(int(random_keys([name], "rng")[0] * 2**32))
        files[name] = midi_bytes(DAMAGES[kind](read_midi(found[name]), rng))
    damaged = make_windows({name: files[name] for name in clean.ids}, groups=groups)
    surrogate = SurrogateConfig(num_steps=num_steps)
    pools = {"clean": clean, "damaged": damaged}
    return World(pools, windows.of_files(probe), windows.of_files(test), damages, surrogate, out)


def damages_of(ids: Sequence[str]) -> dict[str, str]:
    """Assign each damage to a random share of the files. Gives id -> damage."""
    order = [name for _, name in sorted(zip(random_keys(ids, "damage").tolist(), ids, strict=True))]
    each = max(1, round(DAMAGED_SHARE * len(ids)))
    return {name: kind for at, kind in enumerate(DAMAGES) for name in order[at * each : (at + 1) * each]}


def seed_scores(world: World, pool: str, config: ScoringConfig, names: Sequence[str] = SCORES) -> dict[str, np.ndarray]:
    """Each score of each seed, (seeds, files)."""

    def progress(what: str, done: int, total: int) -> None:
        if done == total:
            print(f"{pool}: {what}", file=sys.stderr, flush=True)

    material = Material(world.pools[pool], world.probe, config, world.out, progress)
    found = [score_seed(material, seed, (), set(names)).columns for seed in SCORE_SEEDS[pool]]
    return {name: np.stack([columns[name] for columns in found]) for name in names}


def early_el2n(world: World) -> dict[float, np.ndarray]:
    """EL2N in the middle of the training, (seeds, files)."""
    surrogate = SurrogateConfig(num_steps=world.surrogate.num_steps, checkpoint_epochs=EARLY_EPOCHS)
    configs = {
        epoch: ScoringConfig(surrogate=surrogate, columns=ColumnsConfig(score_epoch=epoch)) for epoch in EARLY_EPOCHS
    }
    return {epoch: seed_scores(world, "clean", config, ["el2n"])["el2n"] for epoch, config in configs.items()}


def table_of(windows: Windows, stacks: Mapping[str, np.ndarray]) -> ScoreTable:
    columns = {name: combine(values) for name, values in stacks.items()}
    return ScoreTable.of(windows.ids, columns, windows.groups, windows.minutes, windows.num_notes)


def choose(table: ScoreTable, choice: str, experiment: Experiment, seed: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The ids that are kept, and their weights."""
    if choice == ALL:
        return table.ids, np.ones(len(table))
    column, settings = experiment.ways[choice]
    selection = select(table.pool(column), SelectConfig(budget=Budget(fraction=experiment.share), **settings), seed)
    return selection.ids, selection.weights


def retrain(
    world: World, pool: str, ids: Sequence[str], weights: np.ndarray, seed: int, until_s: float = math.inf
) -> np.ndarray | None:
    """The loss of each test file after training on these files, from the cache if it is there; None when time is up."""
    windows = world.pools[pool]
    mine = windows.of_files([windows.ids.index(name) for name in sorted(ids)])
    facts = [mine.sha256, world.test.sha256, asdict(world.surrogate), np.asarray(weights).tolist(), seed]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = world.out / f"retrained-{key}.npy"
    if path.is_file():
        return np.load(path)
    if time.monotonic() > until_s:
        return None
    model = train(mine, world.surrogate, seed, weights, held_out=()).model
    losses = forward.loss(model, world.test.examples())
    content = io.BytesIO()
    np.save(content, losses)
    write_whole(path, content.getvalue())
    return losses


Runs = dict[str, dict[int, np.ndarray]]  # choice -> round -> loss of each test file


def retrain_all(world: World, tables: Mapping[str, ScoreTable], until_s: float) -> dict[str, Runs]:
    """Train on all selections, round by round, so that when time is up all have about as many training runs.

    The selections that `CLAIMS` compare come first, and their first round ignores the time limit. All networks of a
    round start from the same parameters, because the start makes more difference than most selections.
    """
    found: dict[str, Runs] = {name: {} for name in EXPERIMENTS}
    for is_claim, each in product((True, False), range(ROUNDS)):
        until = math.inf if is_claim and each == 0 else until_s
        for name, experiment in EXPERIMENTS.items():
            wanted = [choice for choice in experiment.ways if _is_in_claims(name, choice) == is_claim]
            for choice in ([ALL] if is_claim else []) + wanted:
                draws = (each, FIRST_EXTRA_DRAW + each) if choice == "random" else (each,)
                chosen = [choose(tables[experiment.pool], choice, experiment, draw) for draw in draws]
                losses = [retrain(world, experiment.pool, *files, each, until) for files in chosen]
                known = [of_files for of_files in losses if of_files is not None]
                if len(known) == len(draws):
                    found[name].setdefault(choice, {})[each] = np.mean(known, axis=0)
            print(f"round {each + 1}, {name}: {', '.join(wanted)}", file=sys.stderr, flush=True)
    return found


def _is_in_claims(experiment: str, choice: str) -> bool:
    return any(name == experiment and choice in pair for name, *pair in CLAIMS)


def spread_of_runs(runs: Runs) -> float:
    """Standard deviation of the mean loss between training runs, without the effects of rounds and of selections."""
    rounds = sorted(runs["random"])
    means = np.array([[of[each].mean() for each in rounds] for of in runs.values() if set(of) >= set(rounds)])
    if min(means.shape) < 2:
        return math.inf
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    return float((rest**2).sum() / ((means.shape[0] - 1) * (means.shape[1] - 1))) ** 0.5


def contrast(runs: Runs, one: str, other: str, groups: Sequence[str]) -> tuple[float, float]:
    """Mean difference of the loss, one - other, within rounds, and two standard errors of it.

    The error has two parts: the choice of test compositions (bootstrap over them, of differences file by file), and the
    draws and order of training (the spread between training runs).
    """
    rounds = sorted(set(runs[one]) & set(runs[other]))
    differences = np.mean([runs[one][each] - runs[other][each] for each in rounds], axis=0)
    codes = np.unique(np.array(groups), return_inverse=True)[1]
    sums, counts = np.bincount(codes, differences), np.bincount(codes)
    drawn = np.random.default_rng(0).integers(0, len(sums), (2000, len(sums)))
    of_tests = float((sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)).std())
    of_runs = spread_of_runs(runs) * (2 / len(rounds)) ** 0.5
    return float(differences.mean()), 2 * (of_tests**2 + of_runs**2) ** 0.5


def verdict(difference: float, error: float) -> str:
    return "not resolved" if abs(difference) <= error else "better" if difference < 0 else "worse"


def auc(values: np.ndarray, is_damaged: np.ndarray) -> float:
    """The chance that a damaged file has the higher score; 1: all at the hard end, 0: all at the easy end."""
    from scipy.stats import rankdata

    ranks, count = rankdata(values), int(is_damaged.sum())
    return float((ranks[is_damaged].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def share_between(values: np.ndarray, groups: Sequence[str] | np.ndarray) -> float:
    """The part of the variance that lies between compositions rather than performances (R^2, adjusted)."""
    codes = np.unique(np.array(groups), return_inverse=True)[1]
    counts = np.bincount(codes)
    within = values - (np.bincount(codes, values) / counts)[codes]
    return float(1 - within.var() * len(values) / (len(values) - len(counts)) / values.var(ddof=1))


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{each:.3f}" if isinstance(each, float) else str(each) for each in cells) + " |")


def header(title: str, *names: str) -> None:
    print(f"\n### {title}\n")
    row(*names)
    row(*["---"] * len(names))


def print_scores(stacks: Mapping[str, np.ndarray], early: Mapping[float, np.ndarray], table: ScoreTable) -> None:
    rho = table.rank_correlations()
    names = ("seed to seed", "with el2n", "with loss", "with grand_full", "variance between compositions")
    header("Scores: rank correlations", "score", *names)
    for name in SCORES:
        agreement = rank_agreement(stacks[name])
        others = [rho[name][other] for other in ("el2n", "loss", "grand_full")]
        row(name, agreement if agreement is not None else "-", *others, share_between(table.columns[name], table.group))
    header("EL2N early", "epoch", "rank correlation with EL2N at the end", "seed to seed")
    for epoch, values in early.items():
        pairs = [rank_agreement(np.stack(pair)) for pair in zip(values, stacks["el2n"], strict=True)]
        row(f"{epoch:g}", float(np.mean([each for each in pairs if each is not None])), rank_agreement(values) or "-")


def print_choices(world: World, tables: Mapping[str, ScoreTable], losses: Mapping[str, Runs]) -> None:
    for name, experiment in EXPERIMENTS.items():
        runs = losses[name]
        header(
            f"{name} kept, {world.surrogate.num_steps} steps (spread between trainings {spread_of_runs(runs):.4f})",
            *("choice", "rounds", "test loss", "minus random", "two standard errors", "", "compositions"),
        )
        for choice in sorted(runs, key=lambda each: float(np.mean(list(runs[each].values())))):
            difference, error = contrast(runs, choice, "random", world.test.groups)
            kept, _ = choose(tables[experiment.pool], choice, experiment, 0)
            groups = len({Path(each).parent for each in kept})
            decision = "" if choice == "random" else verdict(difference, error)
            loss = float(np.mean(list(runs[choice].values())))
            beside = ("", "") if choice == "random" else (f"{difference:+.4f}", f"{error:.4f}")
            row(choice, len(runs[choice]), f"{loss:.4f}", *beside, decision, groups)


def print_claims(world: World, losses: Mapping[str, Runs]) -> None:
    header("Claims", "kept", "choice", "compared with", "difference", "two standard errors", "so it is")
    for name, one, other in CLAIMS:
        if one in losses[name] and other in losses[name]:
            difference, error = contrast(losses[name], one, other, world.test.groups)
            row(name, one, other, f"{difference:+.4f}", f"{error:.4f}", verdict(difference, error))


def print_damages(world: World, table: ScoreTable) -> None:
    kinds = np.array([world.damages.get(name, "") for name in table.ids])
    header("Where scores put damaged files: AUC against undamaged (1: hard end, 0: easy end)", "score", *DAMAGES, "any")
    for name in SCORES:
        values = table.columns[name]
        cells = [auc(values[(kinds == "") | (kinds == kind)], (kinds == kind)[(kinds == "") | (kinds == kind)])
                 for kind in DAMAGES]  # fmt: skip
        row(name, *cells, auc(values, kinds != ""))
    settings = {name.removeprefix("EL2N "): way[1] for name, way in DAMAGED.items() if way[0] != "loss"}
    header(f"Damaged files among the half kept (of all: {len(world.damages) / len(table):.3f})", "score", *settings)
    for name in ("el2n", "loss", "grand_window", "grand_full", "vog", "pvi"):
        half = Experiment("damaged", 0.5, {way: (name, how) for way, how in settings.items()})
        kept = [[choose(table, way, half, seed)[0] for seed in range(5)] for way in settings]
        row(name, *[float(np.mean([[each in world.damages for each in ids] for ids in draws])) for draws in kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, help="at most so many, drawn at random")
    parser.add_argument("--steps", type=int, default=200, help="of every training run")
    parser.add_argument(
        "--minutes", type=float, default=240.0, help="no training run begins after that, except in the first round"
    )
    parser.add_argument("--out", type=Path, help="folder that keeps results; by default none are kept")
    arguments = parser.parse_args()
    until_s = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        world = make_world(arguments.folder, arguments.files, arguments.steps, out)
        pools = {name: len(windows.ids) for name, windows in world.pools.items()}
        print(f"`python benchmarks/data_pruning_music.py {' '.join(sys.argv[1:])}`\n")
        print(f"{pools['clean']} files to choose from ({len(set(world.pools['clean'].groups))} compositions), probe "
              f"{len(world.probe.ids)}, test {len(world.test.ids)} ({len(set(world.test.groups))})")  # fmt: skip
        columns = ColumnsConfig(influence=InfluenceConfig(max_windows=96))
        config = ScoringConfig(surrogate=world.surrogate, columns=columns)
        stacks = {pool: seed_scores(world, pool, config) for pool in world.pools}
        early = early_el2n(world)
        both = stacks["clean"] | {"el2n_early": early[EARLY_EPOCHS[0]]}
        tables = {
            "clean": table_of(world.pools["clean"], both),
            "damaged": table_of(world.pools["damaged"], stacks["damaged"]),
        }
        print_scores(stacks["clean"], early, tables["clean"])
        print_damages(world, tables["damaged"])
        sys.stdout.flush()
        losses = retrain_all(world, tables, until_s)
        print_choices(world, tables, losses)
        print_claims(world, losses)


if __name__ == "__main__":
    main()
