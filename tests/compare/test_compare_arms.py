"""Subsets are compared fairly: one recipe, random files beside them, nothing trained on that is tested on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from aria_data.compare import CompareConfig, Subset, compare, training_runs
from aria_data.compare.compare_arms import hold_out
from aria_data.compare.comparison_report import save_report, series, terminal_lines
from aria_data.compare.differences import Difference, Measured, difference, loss_of
from aria_data.errors import ConfigInvalid, UsageError
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.pruning import Budget, Pool, SelectConfig, select
from aria_data.surrogate import SurrogateConfig, make_windows
from aria_data.surrogate.tokens import TokenConfig

TOKENS = TokenConfig(context_tokens=32, windows_per_file=3, warm_up_tokens=4)
NETWORK = SurrogateConfig(width=16, layers=1, heads=2, batch_windows=8, learning_rate=1e-2, device="cpu")
CONFIG = CompareConfig(num_steps=8, test_share=0.25, surrogate=NETWORK)
NUM_PIECES, NUM_STUCK = 16, 10
PIECES_TESTED = {f"piece {number}" for number in (0, 5, 9, 13)}


def piece(number: int, take: int) -> bytes:
    """A tune over a scale of its own key: two takes of it differ a little."""
    random = np.random.default_rng(100 * number + take)
    steps = np.cumsum(np.random.default_rng(number).integers(-2, 3, 60)) % 14
    pitches = 48 + number % 12 + np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19, 21, 23])[steps]
    times = 0.25 * np.arange(60) + random.uniform(0, 0.02, 60)
    return midi_bytes(Performance([Note(t, t + 0.2, int(p), 64) for t, p in zip(times, pitches, strict=True)]))


def stuck(number: int) -> bytes:
    return midi_bytes(Performance([Note(0.1 * i, 0.1 * i + 0.05, 108, 127) for i in range(60 + number)]))


def the_files() -> tuple[dict[str, bytes], dict[str, str]]:
    takes = {f"p{number:02d}-{take}": (number, take) for number, take in product(range(NUM_PIECES), range(2))}
    files = {name: piece(*which) for name, which in takes.items()}
    groups = {name: f"piece {number}" for name, (number, _) in takes.items()}
    return files | {f"stuck-{n}": stuck(n) for n in range(NUM_STUCK)}, groups


@pytest.fixture(scope="module")
def windows():
    files, groups = the_files()
    return make_windows(files, TOKENS, groups)


def asked_ids(windows) -> tuple[str, ...]:
    """Only real pieces are tested on."""
    return tuple(name for name in windows.ids if windows.groups[windows.ids.index(name)] in PIECES_TESTED)


def good(windows, num: int = 10) -> Subset:
    asked = asked_ids(windows)
    return Subset([name for name in windows.ids if name.startswith("p") and name not in asked][:num])


def run(windows, subsets, config=CONFIG, **more):
    return compare(windows, subsets, config, test=asked_ids(windows), **more)


def measured(name: str, losses, kind: str = "subset", num_files: int = 10) -> Measured:
    """Losses (variants, seeds, compositions), each composition one file."""
    values = np.asarray(losses, dtype=float)
    return Measured(name, kind, num_files, 0.5, num_files, values, values)


def test_a_stuck_note_repeated_is_called_worse_than_random_files(windows):
    config = replace(CONFIG, num_steps=40)
    bad = Subset([f"stuck-{n}" for n in range(NUM_STUCK)])
    found = run(windows, {"stuck": bad, "pieces": good(windows)}, config)
    apart = found.row("stuck").against_random
    assert apart.verdict == "worse"
    assert apart.low > 0.5
    assert found.row("stuck").against_all.verdict == "worse"
    assert found.between("pieces", "stuck").verdict == "better"
    assert "worse" in next(line for line in terminal_lines(found) if line.startswith("stuck"))


def test_random_files_beside_random_files_are_no_difference(windows):
    ids = [name for name in windows.ids if name not in asked_ids(windows)]
    chosen = Subset(np.random.default_rng(3).permutation(ids)[:12].tolist())
    found = run(windows, {"some": chosen})
    assert found.row("some").against_random.verdict == "no difference"


def test_weights_change_the_result_and_their_scale_does_not(windows):
    plain = good(windows)
    uneven = [1.0, 9.0] * 5
    found = run(
        windows,
        {
            "plain": plain,
            "threes": replace(plain, weights=[3.0] * 10),
            "uneven": replace(plain, weights=uneven),
            "uneven, scaled": replace(plain, weights=[7 * each for each in uneven]),
        },
    )
    loss = {row.name: row.loss.mean for row in found.rows}
    assert loss["plain"] == loss["threes"] != loss["uneven"] == loss["uneven, scaled"]
    assert found.row("uneven").effective_num_files == pytest.approx(50**2 / (5 * 82))
    assert next(line for line in terminal_lines(found) if line.startswith("uneven")).split()[1:3] == ["10", "(6)"]


@pytest.mark.slow
def test_the_same_arguments_give_the_same_figures_in_one_process_and_in_two(windows):
    subsets = {"pieces": good(windows)}
    one, two = (run(windows, subsets, processes=number) for number in (1, 2))
    assert one.rows == two.rows
    other = run(windows, subsets, replace(CONFIG, surrogate=replace(NETWORK, learning_rate=2e-2)))
    assert other.rows != one.rows


def test_nothing_is_trained_twice_and_a_kill_costs_only_what_was_under_way(windows, tmp_path, monkeypatch):
    trained: list[int] = []
    real = training_runs.train_and_test

    def counted(job):
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append(job.seed)
        return real(job)

    monkeypatch.setattr(training_runs, "train_and_test", counted)
    subsets = {"pieces": good(windows), "the same": good(windows)}
    with pytest.raises(KeyboardInterrupt):
        run(windows, subsets, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    trained.clear()
    said: list[str] = []
    seen: list[tuple[str, int, int]] = []
    first = run(windows, subsets, cache_dir=tmp_path, announce=said.append, progress=lambda *each: seen.append(each))
    assert len(trained) == 3  # of 2 on all files, 3 random, 2 on the subset, which is there twice
    assert seen == [("training", done, 7) for done in (4, 5, 6, 7)]
    assert said[0].startswith("7 trainings of 8 steps, 4 of them done before: about ")
    trained.clear()
    assert run(windows, subsets, cache_dir=tmp_path, announce=said.append).rows == first.rows
    assert not trained
    assert said[1] == "7 trainings, all done before."


@pytest.mark.parametrize("content", ["", "{}", '{"losses": [1.0], "took_s": 1}'])
def test_a_damaged_file_of_the_cache_is_as_if_it_were_not_there(windows, tmp_path, content):
    before = run(windows, {"pieces": good(windows)}, cache_dir=tmp_path)
    for path in tmp_path.iterdir():
        path.write_text(content)
    assert run(windows, {"pieces": good(windows)}, cache_dir=tmp_path).rows == before.rows


def test_what_decides_an_outcome_decides_its_key(windows):
    asked, files = np.arange(4), np.arange(10, 16)
    bench = training_runs.Bench(windows, asked, CONFIG.recipe, None)
    run = training_runs.TrainingRun(files, np.ones(6), 0)
    others = [
        bench.key(replace(run, seed=1)),
        bench.key(replace(run, weights=np.arange(6.0))),
        bench.key(replace(run, files=files + 1)),
        training_runs.Bench(windows, asked + 1, CONFIG.recipe, None).key(run),
        training_runs.Bench(windows, asked, replace(CONFIG.recipe, num_steps=9), None).key(run),
    ]
    assert len({bench.key(run), *others}) == 6
    renamed = replace(windows, ids=tuple(f"x{name}" for name in windows.ids))
    assert training_runs.Bench(renamed, asked, CONFIG.recipe, None).key(run) == bench.key(run)


def test_nothing_of_a_composition_that_is_tested_on_is_trained_on(windows, monkeypatch):
    jobs: list[training_runs.Job] = []
    real = training_runs.train_and_test

    def noted(job: training_runs.Job) -> training_runs.TrainingResult:
        jobs.append(job)
        return real(job)

    monkeypatch.setattr(training_runs, "train_and_test", noted)
    one_take = [name for name in asked_ids(windows) if name.endswith("-0")]
    found = compare(windows, {"all of it": Subset(windows.ids)}, CONFIG, test=one_take)
    trained = {group for job in jobs for group in job.windows.groups}
    assert set(jobs[0].test.groups) == PIECES_TESTED
    assert trained
    assert not trained & PIECES_TESTED
    assert found.row("all of it").num_files == len(windows.ids) - 8
    assert "all of it: 8 of its 42 files are of what is tested on, or cannot be trained on." in found.warnings
    assert found.row("all of it").against_random is None


def test_held_out_files_are_whole_compositions_and_not_too_many(windows):
    held = hold_out(windows, CONFIG)
    group_of = dict(zip(windows.ids, windows.groups, strict=True))
    assert {group_of[name] for name in held}.isdisjoint(group_of[name] for name in windows.ids if name not in held)
    assert len(held) >= 0.25 * len(windows.ids)
    assert len(hold_out(windows, replace(CONFIG, max_test_files=4))) in (4, 5)


def test_a_copy_under_another_name_is_not_trained_on():
    files, groups = the_files()
    files["copy"], groups["copy"] = files["p00-0"], "a new name"
    windows = make_windows(files, TOKENS, groups)
    found = run(windows, {"with a copy": Subset(["copy", "p01-0", "p01-1"])})
    assert found.row("with a copy").num_files == 2
    assert any(line.startswith("1 files share a window with a file that is tested on") for line in found.warnings)


def test_every_size_of_subset_has_random_files_of_its_own_size(windows):
    ids = good(windows, 20).ids
    found = run(windows, {"a": Subset(ids[:6]), "b": Subset(ids[6:12]), "c": Subset(ids[:12])})
    names = [(row.name, row.num_files, row.num_trainings) for row in found.rows]
    assert names == [
        ("all files", 34, 2),
        ("random files (12)", 12, 3),
        ("c", 12, 2),
        ("random files (6)", 6, 3),
        ("a", 6, 2),
        ("b", 6, 2),
    ]


def test_several_choices_under_one_name_are_draws_of_one_method(windows):
    ids = good(windows, 20).ids
    found = run(windows, {"drawn": [Subset(ids[n : n + 8]) for n in range(4)], "once": Subset(ids[:8])})
    assert found.row("drawn").num_trainings == 4
    assert found.row("once").num_trainings == 2
    said = "A line of one choice of files is about these files"
    assert any(line.startswith(said) for line in terminal_lines(found))
    assert not any(
        line.startswith(said) for line in terminal_lines(run(windows, {"drawn": [Subset(ids[:8]), Subset(ids[4:])]}))
    )


def test_what_a_selection_warns_of_is_said_and_by_score_alone_it_warns(windows):
    open_ids = [name for name in windows.ids if name not in asked_ids(windows)]
    pool = Pool.of(open_ids, np.arange(len(open_ids)) / 7)
    chosen = select(pool, SelectConfig("top", Budget(fraction=0.2)))
    found = run(windows, {"top": chosen, "half": select(pool, SelectConfig("top", Budget(fraction=0.5)))})
    said = [line for line in found.warnings if "by score alone" in line]
    assert len(said) == 1
    assert said[0].startswith("top: top keeps 6 of 34 files by score alone")
    assert f"warning: {said[0]}" in terminal_lines(found)


def test_few_compositions_one_seed_and_many_comparisons_are_warned_of(windows):
    ids = good(windows, 20).ids
    subsets = {str(n): Subset(ids[n : n + 5]) for n in range(4)}
    text = "\n".join(run(windows, subsets, replace(CONFIG, num_seeds=1)).warnings)
    assert "only 4 compositions are tested on" in text
    assert "of such 95% intervals about 0.2 would say better or worse though nothing differed" in text
    assert "trained on once" in text


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        ({}, "nothing to compare"),
        ({"a": Subset(["nobody"])}, "'nobody' is not among"),
        ({"a": Subset(["p01-0", "p01-0"])}, "Give each id once"),
        ({"a": Subset(["p01-0"], [1.0, 2.0])}, "1 ids and 2 weights"),
        ({"a": Subset(["p01-0"], [float("nan")])}, "no file with a weight"),
        ({"a": Subset(["p01-0", "p02-0"], [-1.0, 2.0])}, "no file with a weight"),
        ({"a": Subset(["p00-0"])}, "no file with a weight"),
        ({"a": []}, "no choice of files"),
        ({"all files": Subset(["p01-0"])}, "a baseline is"),
    ],
)
def test_subsets_that_make_no_sense_are_refused_in_one_line(windows, subsets, said):
    with pytest.raises(UsageError, match=said) as raised:
        run(windows, subsets)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_compared_is_refused(windows):
    with pytest.raises(ConfigInvalid, match="num_draws"):
        CompareConfig(num_draws=2)
    with pytest.raises(ConfigInvalid, match="test_share"):
        CompareConfig(test_share=1.0)
    with pytest.raises(UsageError, match="Fewer than two compositions"):
        compare(windows, {"a": good(windows)}, CONFIG, test=["p00-0"])
    with pytest.raises(UsageError, match="No file is left to train on"):
        compare(windows, {"a": good(windows)}, CONFIG, test=windows.ids)


def test_overlap_is_no_difference_and_only_an_interval_without_0_names_one_better():
    assert Difference(-0.3, -0.7, 0.1).verdict == "no difference"
    assert Difference(0.3, -0.1, 0.7).verdict == "no difference"
    assert Difference(-0.3, -0.5, -0.1).verdict == "better"
    assert Difference(0.3, 0.1, 0.5).verdict == "worse"
    assert Difference(-9.0, -np.inf, np.inf).verdict == "no difference"


def test_compositions_are_paired_so_a_small_even_difference_is_seen():
    levels = np.linspace(1, 5, 20)
    random = measured("random", [[levels + shift] for shift in (0.0, 0.001, -0.001)], "random")
    lower = measured("lower", [[levels - 0.05, levels - 0.051]])
    found = difference(lower, random, [lower, random], 0.95)
    assert found.verdict == "better"
    assert found.mean == pytest.approx(-0.0505)
    assert loss_of(lower, [lower, random], 0.95).high - loss_of(lower, [lower, random], 0.95).low > 1


def test_random_draws_that_differ_among_themselves_widen_the_interval():
    levels = np.linspace(1, 5, 20)
    random = measured("random", [[levels + shift] for shift in (0.0, 0.1, -0.1)], "random")
    lower = measured("lower", [[levels - 0.05]] * 3)
    assert difference(lower, random, [lower, random], 0.95).verdict == "no difference"


def test_without_any_repetition_nothing_is_called_different():
    levels = np.linspace(1, 5, 20)
    one, other = measured("one", [[levels]]), measured("other", [[levels - 1]])
    assert difference(one, other, [one, other], 0.95).verdict == "no difference"


def test_a_subset_of_few_trainings_borrows_the_spread_of_smaller_ones_and_never_of_larger_ones():
    levels = np.linspace(1, 5, 20)

    def lone(num_files):
        return measured("lone", [[levels, levels + 0.002]], num_files=num_files)

    lender = measured("lender", [[levels + shift] for shift in (0.0, 0.001, -0.001)], "random", num_files=10)
    everything = measured("everything", [[levels - 0.05] * 2], "all", num_files=40)

    def width(num_files):
        found = difference(lone(num_files), everything, [lone(num_files), lender], 0.95)
        return found.high - found.low

    assert width(20) < 0.7 * width(5)
    assert width(20) == width(10)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """150 worlds with 3 random draws and 2 seeds, in which nothing differs: 95 % intervals hold 0 in 92 to 100 %."""
    rng = np.random.default_rng(0)
    num_held = 0
    for _ in range(150):
        levels = rng.normal(3, 0.5, 15)

        def trained(num, levels=levels):
            return levels + rng.normal(0, 0.02, (num, 1)) + rng.normal(0, 0.03, (num, 15))

        random = measured("random", trained(3)[:, None], "random")
        one, other = measured("one", trained(2)[None]), measured("other", trained(2)[None])
        num_held += difference(one, random, [one, other, random], 0.95).verdict == "no difference"
    assert 0.92 <= num_held / 150 <= 1


def test_tails_are_apart_and_the_hardest_are_the_same_for_all(windows):
    files, groups = the_files()
    names = [name for name in files if groups.get(name) != "piece 5" or name.endswith("0")]
    fewer = make_windows({name: files[name] for name in names}, TOKENS, groups)
    found = run(fewer, {"pieces": good(fewer)})
    assert [found.tested.compositions[n] for n in np.flatnonzero(found.tested.is_rare)] == ["piece 5"]
    assert found.is_worst.sum() == 3
    row = found.row("pieces")
    mine = next(each for each in found.measured if each.name == "pieces").by_composition.mean(axis=(0, 1))
    assert row.rare.loss == pytest.approx(mine[found.tested.is_rare][0])
    assert row.rare.against_random.verdict == "no difference"  # one composition has no interval
    mean = np.mean([each.by_composition.mean(axis=(0, 1)) for each in found.measured], axis=0)
    assert mean[found.is_worst].min() >= mean[~found.is_worst].max()
    assert row.worst.loss == pytest.approx(mine[found.is_worst].mean())
    assert run(windows, {"pieces": good(windows)}).row("pieces").rare is None  # all have two files


def test_what_is_saved_can_be_opened_and_holds_every_loss(windows, tmp_path):
    ids = good(windows, 12).ids
    found = run(windows, {"m|:0.3": Subset(ids[:10]), "m|:0.1": Subset(ids[:4]), "$x_": Subset(ids[2:6])})
    paths = save_report(found, tmp_path / "out")
    assert [path.name for path in paths] == ["report.md", "losses.csv", "comparison.json", "loss.svg"]
    drawn = (tmp_path / "out" / "loss.svg").read_text()
    assert "<script" not in drawn
    assert "m|:0.1: 11.8 % of the files" in ET.fromstring(drawn).get("aria-label", "")
    with open(tmp_path / "out" / "losses.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (2 + 2 * 3 + 3 * 2) * 8
    mine = [float(row["loss"]) for row in rows if row["name"] == "m|:0.1"]
    assert np.mean(mine) == pytest.approx(found.row("m|:0.1").loss.mean, abs=1e-5)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["name"] for row in content["rows"]] == [row.name for row in found.rows]
    assert content["about"]["num_trainings"] == 14
    assert content["about"]["config"]["num_steps"] == 8
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| m\\|:0.1 | 4 |" in report
    assert "Subsets beside each other" in report


def test_the_sizes_of_one_method_are_one_line_of_the_plot():
    assert series("el2n:top:0.1") == series("el2n:top:0.30") == "el2n:top"
    assert series("long_chopin") == "long_chopin"
    assert series("group_random:30%") == "group_random"
    assert series("0.1") == "0.1"
