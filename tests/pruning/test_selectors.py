"""Selectors keep what they say, within the budget, with probabilities and weights that hold."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subset_pools import attribute, keep, pool_of

from aria_data.errors import ConfigInvalid
from aria_data.pruning import Budget, Pool, SelectConfig, report_of, select
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.selection import BY_LENGTH, BY_RANK, BY_SCORE, METHODS

NESTED = tuple(method for method in METHODS if method != "ht_proportional")


pools = st.builds(
    pool_of,
    st.integers(0, 60),
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.integers(0, 3),
)
budgets = st.one_of(
    st.builds(Budget, fraction=st.floats(0, 1)),
    st.builds(Budget, files=st.integers(0, 70)),
    st.builds(Budget, minutes=st.floats(0, 300)),
    st.builds(Budget, notes=st.integers(0, 100_000)),
)
configs = st.builds(
    SelectConfig,
    st.sampled_from(METHODS),
    budgets,
    alpha=st.floats(0, 1),
    strata=st.integers(1, 60),
    normalize=st.sampled_from(("none", "dataset", "group")),
    min_score=st.none() | st.floats(-1, 0),
    max_score=st.none() | st.floats(0.5, 2),
    min_per_group=st.integers(0, 2),
    max_per_group=st.sampled_from((0, 2, 5)),
    weights=st.sampled_from(("own", "exact", "none", "clip:2")),
    exclude=st.sampled_from(((), ("file-001", "file-004"))),
)


@settings(max_examples=300, deadline=None)
@given(pools, configs, st.integers(0, 1000))
def test_whatever_is_asked_the_budget_the_names_and_the_reasons_hold(pool, config, seed):
    selection = select(pool, config, seed)
    kept = set(selection.ids)
    assert len(kept) == len(selection.ids) == len(selection.weights) == len(selection.inclusion_probs)
    assert list(selection.ids) == sorted(kept)
    assert not kept & set(config.exclude)
    assert set(selection.reasons) == set(pool.ids)
    assert all(reason.startswith("kept: " if each in kept else "left: ") for each, reason in selection.reasons.items())
    assert np.all((selection.inclusion_probs > 0) & (selection.inclusion_probs <= 1 + 1e-12))
    assert np.all(selection.weights > 0)
    costs = {"files": np.ones(len(pool)), "minutes": pool.minutes, "notes": pool.num_notes}[config.budget.unit]
    spent = sum(cost for each, cost in zip(pool.ids, costs, strict=True) if each in kept)
    assert spent <= config.budget.limit(len(pool)) + 1e-9
    most = Counter(attribute(selection, "groups")[each] for each in kept).most_common(1)
    assert not most or config.max_per_group == 0 or most[0][1] <= config.max_per_group
    report_of(selection)


@settings(max_examples=100, deadline=None)
@given(pools, configs, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_files_nor_another_call_changes_the_selection(pool, config, random):
    order = list(range(len(pool)))
    random.shuffle(order)
    shuffled = Pool.of(
        [pool.ids[at] for at in order],
        pool.scores[order],
        pool.groups[order],
        pool.minutes[order],
        pool.num_notes[order],
    )
    one, other = select(pool, config, 3), select(shuffled, config, 3)
    assert one.ids == other.ids
    assert one.reasons == other.reasons
    np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize("method", METHODS)
def test_exactly_so_many_files_are_kept_as_the_budget_allows(method):
    for num in (0, 1, 7, 30, 59):
        assert len(keep(pool_of(60), method, Budget(files=num), hard_cut=0, offset=0).ids) == num


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_draws_others_unless_rank_decides(method):
    rng = np.random.default_rng(0)
    names, groups = [f"{number}" for number in range(200)], [f"{number % 40}" for number in range(200)]
    pool = Pool.of(names, rng.normal(size=200), groups, None, rng.permutation(200))
    one, other = (keep(pool, method, Budget(files=50), seed).ids for seed in (0, 1))
    assert (one == other) == (method in BY_RANK)


@settings(max_examples=60, deadline=None)
@given(pools, st.sampled_from(NESTED), st.integers(0, 59), st.integers(0, 59), st.integers(0, 2))
def test_a_smaller_budget_of_files_keeps_a_part_of_what_a_larger_one_keeps(pool, method, one, other, minimum):
    small, large = sorted((one, other))
    few, many = (keep(pool, method, Budget(files=num), alpha=0.4, min_per_group=minimum) for num in (small, large))
    assert set(few.ids) <= set(many.ids)


@pytest.mark.parametrize("method", [method for method in NESTED if method != "calibrated"])
def test_a_smaller_budget_of_minutes_keeps_a_part_of_what_a_larger_one_keeps(method):
    pool = pool_of(80, num_groups=15)
    few, many = (keep(pool, method, Budget(minutes=minutes)) for minutes in (60, 200))
    assert set(few.ids) < set(many.ids)


@pytest.mark.parametrize("method", ["random", "group_random", "top", "bottom", "score_proportional"])
def test_added_files_leave_the_order_of_the_others_as_it_was(method):
    old, new = pool_of(80, num_groups=15), pool_of(20, seed=1)
    added = [f"new-{each}" for each in new.ids]
    both = Pool.of(
        [*old.ids, *added],
        [*old.scores, *np.clip(new.scores, old.scores.min(), old.scores.max())],
        [*old.groups, *(f"new {each}" for each in new.groups)],
    )
    kept = [each for each in keep(both, method, Budget(files=50)).ids if each not in added]
    assert 20 < len(kept) < 50
    assert tuple(kept) == keep(old, method, Budget(files=len(kept))).ids


# ---------------------------------------------------------------- by rank


def test_top_keeps_the_highest_and_bottom_the_lowest():
    pool = Pool.of(list("abcdef"), [0.3, 0.1, 0.6, 0.2, 0.5, 0.4])
    assert keep(pool, "top", Budget(files=2)).ids == ("c", "e")
    assert keep(pool, "bottom", Budget(files=2)).ids == ("b", "d")


def test_the_longest_and_the_shortest_go_by_notes_and_need_no_score():
    pool = Pool.of(list("abcd"), None, None, [1.0, 9.0, 2.0, 3.0], [400, 100, 300, 200])
    assert keep(pool, "longest", Budget(files=2)).ids == ("a", "c")
    assert keep(pool, "shortest", Budget(files=2)).ids == ("b", "d")
    assert keep(pool, "longest", Budget(notes=500)).reasons["c"] == "left: rank by length 2 of 4, 1 were taken"


def test_the_middle_is_the_same_share_from_both_ends():
    pool = Pool.of([f"{number:02d}" for number in range(10)], np.arange(10.0) ** 3)
    assert keep(pool, "middle", Budget(fraction=0.4)).ids == ("03", "04", "05", "06")
    assert keep(pool, "middle", Budget(files=9)).ids == tuple(f"{number:02d}" for number in range(1, 10))
    is_scored = Pool.of(list("abcd"), [math.nan, 1.0, 2.0, 9.0])
    assert keep(is_scored, "middle", Budget(files=1)).ids == ("c",)


def test_a_window_skips_its_share_from_the_hard_end():
    pool = Pool.of([f"{number:02d}" for number in range(20)], np.arange(20))
    kept = keep(pool, "window", Budget(files=3), offset=0.1)
    assert kept.ids == ("15", "16", "17")
    assert kept.reasons["19"] == "left: hardest 10.0%: rank 1 of 20"


def test_ties_are_broken_by_lot_and_not_by_name():
    pool = Pool.of([f"{number:02d}" for number in range(40)], np.ones(40))
    halves = [keep(pool, "top", Budget(files=20), seed) for seed in range(40)]
    times_kept = Counter(each for half in halves for each in half.ids)
    assert min(times_kept[each] for each in pool.ids) > 6  # of 40; chance alone goes below that once in 10^5 files
    assert "all scores are equal, so the choice is by lot." in halves[0].warnings


@pytest.mark.parametrize("method", BY_SCORE)
def test_a_file_without_score_is_never_kept_by_score_and_is_accounted_for(method):
    pool = pool_of(40, num_without_score=5)
    selection = keep(pool, method, Budget())
    without = {each for each, score in zip(pool.ids, pool.scores, strict=True) if math.isnan(score)}
    assert not without & set(selection.ids)
    assert {each for each, reason in selection.reasons.items() if reason == "left: it has no score"} == without
    assert any(warning.startswith("5 of 40 files have no score") for warning in selection.warnings)


def test_random_files_need_no_score():
    assert len(keep(pool_of(40, num_without_score=40), "random", Budget(files=10)).ids) == 10


def test_limits_of_value_are_kept_and_named():
    pool = Pool.of(list("abcd"), [1.0, 2.0, 3.0, 4.0])
    selection = keep(pool, "top", Budget(), min_score=2, max_score=3)
    assert selection.ids == ("b", "c")
    assert selection.reasons["a"] == "left: score 1 is below 2"
    assert selection.reasons["d"] == "left: score 4 is above 3"


# ---------------------------------------------------------------- names and groups


@pytest.mark.parametrize("method", METHODS)
def test_what_is_to_be_included_is_kept_with_weight_1_and_counts_against_the_budget(method):
    pool = pool_of(40, num_without_score=3)
    include = (pool.ids[0], pool.ids[20])
    selection = keep(pool, method, Budget(files=5), include=include, min_score=-0.5)
    assert set(include) <= set(selection.ids)
    assert len(selection.ids) == 5
    assert [selection.weights[selection.ids.index(each)] for each in include] == [1, 1]


def test_more_to_include_than_the_budget_allows_is_one_clear_line():
    with pytest.raises(ConfigInvalid, match="the files named have 3 files, the budget allows 2"):
        keep(pool_of(9), "random", Budget(files=2), include=("file-000", "file-001", "file-002"))


def test_ids_that_are_not_there_are_told():
    selection = keep(pool_of(9), "random", Budget(files=2), include=("gone",), exclude=("file-000", "lost"))
    assert selection.warnings[:2] == [
        "1 of 1 ids in include are not here, first gone.",
        "1 of 2 ids in exclude are not here, first lost.",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_group_has_its_minimum_where_the_budget_allows_it(method):
    pool = pool_of(60, num_groups=8)
    selection = keep(pool, method, Budget(files=20), min_per_group=2, hard_cut=0, offset=0)
    sizes, kept = Counter(pool.groups), Counter(attribute(selection, "groups")[each] for each in selection.ids)
    assert all(kept[group] >= min(2, size) for group, size in sizes.items())
    assert len(selection.ids) == 20


def test_a_minimum_that_the_budget_cuts_short_is_spread_over_the_groups_and_told():
    pool = pool_of(60, num_groups=8)
    selection = keep(pool, "top", Budget(files=10), min_per_group=2)
    kept = Counter(attribute(selection, "groups")[each] for each in selection.ids)
    assert sorted(kept.values()) == [1] * 6 + [2] * 2
    assert any("6 files short" in warning for warning in selection.warnings)


def test_top_with_a_minimum_keeps_the_best_of_each_group():
    pool = Pool.of(list("abcd"), [4.0, 3.0, 2.0, 1.0], ["big", "big", "small", "small"])
    assert keep(pool, "top", Budget(files=2), min_per_group=1).ids == ("a", "c")


def test_top_with_a_maximum_passes_over_the_rest_of_a_full_group():
    pool = Pool.of(list("abcd"), [4.0, 3.0, 2.0, 1.0], ["big", "big", "small", "other"])
    selection = keep(pool, "top", Budget(files=3), max_per_group=1)
    assert selection.ids == ("a", "c", "d")
    assert selection.reasons["b"] == "left: its group may keep 1"


def test_group_random_takes_one_of_each_group_before_a_second():
    pool = pool_of(60, num_groups=8)
    for num in range(1, 30):
        selection = keep(pool, "group_random", Budget(files=num))
        kept, sizes = Counter(attribute(selection, "groups")[each] for each in selection.ids), Counter(pool.groups)
        is_full = {group for group in sizes if kept[group] == sizes[group]}
        assert all(kept[one] >= max(kept.values()) - 1 for one in sizes if one not in is_full)


def test_a_file_of_unknown_group_is_nobodys_copy():
    pool = Pool.of(list("abcdef"), groups=["", "", "", "one", "one", "one"])
    selection = keep(pool, "group_random", Budget(files=4))
    assert {"a", "b", "c"} < set(selection.ids)
    assert selection.warnings == ["3 of 6 files have no group; each counts as a group of its own."]
    assert len(keep(pool, "random", Budget(), max_per_group=1).ids) == 4  # a cap is for known groups


def test_group_random_says_when_groups_say_nothing():
    warnings = keep(Pool.of(list("abcdef")), "group_random", Budget(files=4)).warnings
    assert warnings == ["no two files share a known group, so group_random amounts to random."]


def test_normalising_by_group_keeps_the_shares_of_groups_that_differ_in_level():
    rng = np.random.default_rng(0)
    groups = np.repeat(["easy", "hard"], 100)
    pool = Pool.of([f"{number:03d}" for number in range(200)], rng.normal(size=200) + 5 * (groups == "hard"), groups)
    as_it_is = report_of(keep(pool, "top", Budget(fraction=0.5)))
    by_group = report_of(keep(pool, "top", Budget(fraction=0.5), normalize="group"))
    assert {each.group: each.share_kept for each in as_it_is.groups}["hard"] > 0.95
    assert abs({each.group: each.share_kept for each in by_group.groups}["hard"] - 0.5) < 0.05


# ---------------------------------------------------------------- strata


def coverage_sampling(scores: list[float], num: int, num_strata: int, hard_cut: float) -> list[int]:
    """How many each stratum gives, easiest first: Algorithm 2 of DEALRec after CCS's cut, as it is written down."""
    ascending = sorted(scores)
    ascending = ascending[: len(ascending) - int(hard_cut * len(ascending) * (1 + 1e-12))]
    edges = np.linspace(ascending[0], ascending[-1], num_strata + 1)
    groups: dict[int, int] = {}
    for number in range(num_strata):
        is_last = number == num_strata - 1
        groups[number] = sum(edges[number] <= score < edges[number + 1] or is_last for score in ascending)
        ascending = [score for score in ascending if not (edges[number] <= score < edges[number + 1])]
    given, taken = [0] * num_strata, 0
    while groups:
        smallest = min(groups, key=lambda number: (groups[number], number))
        given[smallest] = min((num - taken) // len(groups), groups.pop(smallest))
        taken += given[smallest]
    return given


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-4, 4) | st.integers(-3, 3).map(float), min_size=1, max_size=80),
    st.floats(0, 1),
    st.integers(1, 60),
    st.sampled_from((0.0, 0.1, 0.3)),
)
def test_strata_give_the_numbers_of_the_published_algorithm(scores, share, num_strata, hard_cut):
    num_left = len(scores) - int(hard_cut * len(scores))
    if np.ptp(sorted(scores)[:num_left]) == 0:
        num_strata = 1  # the algorithm does not say what strata of no width are
    num = int(share * num_left)
    pool = Pool.of([f"{number:03d}" for number in range(len(scores))], scores)
    selection = keep(pool, "stratified", Budget(files=num), strata=num_strata, hard_cut=hard_cut)
    found = Counter(int(selection.reasons[each].split()[2]) for each in selection.ids)
    assert [found[number + 1] for number in range(num_strata)] == coverage_sampling(scores, num, num_strata, hard_cut)


def test_the_hardest_are_cut_off_before_strata_are_made():
    scores = [*np.linspace(0, 1, 18), 50.0, 60.0]  # two broken files would have most strata to themselves
    pool = Pool.of([f"{number:02d}" for number in range(20)], scores)
    assert not {"18", "19"} & set(keep(pool, "stratified", Budget(files=10), hard_cut=0.1).ids)
    assert {"18", "19"} < set(keep(pool, "stratified", Budget(files=10), hard_cut=0).ids)


# ---------------------------------------------------------------- warnings, budgets, configuration


@pytest.mark.parametrize("method", METHODS)
def test_keeping_30_percent_by_score_alone_is_warned_of(method):
    def is_warned(share):
        warnings = keep(pool_of(100), method, Budget(fraction=share)).warnings
        return any("by score alone" in warning and "calibrated" in warning for warning in warnings)

    assert is_warned(0.3) == (method in BY_RANK and method not in BY_LENGTH)
    assert not is_warned(0.5)


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("calibrated", {"weights": "none"}, "without its weights keeps its score's bias"),
        ("top", {"weights": "exact"}, "gives other files no chance"),
        ("top", {"budget": Budget(files=50), "min_score": 1.5}, "the other limits leave no more"),
        ("random", {"budget": Budget(files=0)}, "nothing is kept."),
        ("calibrated", {"budget": Budget(files=1)}, "no file was left to be drawn by lot"),
        ("calibrated", {"budget": Budget(minutes=100)}, "with a budget of minutes"),
        ("ht_proportional", {"include": ("file-001",), "max_per_group": 1}, "because their group was full"),
    ],
)
def test_what_should_be_known_before_training_is_said(method, more, said):
    config = SelectConfig(method, **{"budget": Budget(files=20), **more})
    assert any(said in warning for warning in select(pool_of(60), config).warnings)


def test_an_unremarkable_selection_warns_of_nothing():
    assert keep(pool_of(60), "group_random", Budget(fraction=0.5)).warnings == []
    assert keep(pool_of(60), "calibrated", Budget(fraction=0.5)).warnings == []


def test_a_file_longer_than_the_whole_budget_does_not_end_the_selection():
    pool = Pool.of(list("abc"), [3.0, 2.0, 1.0], minutes=[500.0, 4.0, 5.0])
    selection = keep(pool, "top", Budget(minutes=10))
    assert selection.ids == ("b", "c")
    assert selection.reasons["a"] == "left: 500 minutes are more than the whole budget"


def test_a_share_of_files_is_rounded_down_but_not_by_floating_point():
    assert Budget(fraction=0.29).limit(100) == 29
    assert Budget(fraction=0.3).limit(11) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Budget(fraction=1.5),
        lambda: Budget(files=-1),
        lambda: Budget(minutes=math.nan),
        lambda: Budget(files=3, minutes=4),
        lambda: SelectConfig("best"),
        lambda: SelectConfig(normalize="class"),
        lambda: SelectConfig(alpha=1.1),
        lambda: SelectConfig(floor=0),
        lambda: SelectConfig(strata=0),
        lambda: SelectConfig(min_per_group=3, max_per_group=2),
        lambda: SelectConfig(include=("a",), exclude=("a",)),
        lambda: SelectConfig(weights="clip:0.5"),
        lambda: SelectConfig(weights="clip:"),
        lambda: SelectConfig(weights="inverse"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(wrong):
    with pytest.raises(ConfigInvalid) as caught:
        wrong()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", [{"scores": [1.0]}, {"scores": [1, math.inf]}, {"minutes": [1, -1]}])
def test_a_pool_that_cannot_be_is_refused(columns):
    with pytest.raises(ValueError, match="columns|finite"):
        Pool.of(["a", "b"], **columns)
    with pytest.raises(ValueError, match="more than once"):
        Pool.of(["a", "a"])


# ---------------------------------------------------------------- the report


def test_the_report_counts_what_was_and_what_is_kept():
    pool = Pool.of(
        list("abcd"), [1.0, 2.0, 3.0, 4.0], ["x", "x", "x", "y"], minutes=[1, 2, 3, 4], num_notes=[10, 20, 30, 40]
    )
    report = report_of(keep(pool, "top", Budget(files=1)))
    assert (report.num_files, report.num_kept, report.minutes, report.minutes_kept) == (4, 1, 10, 4)
    assert (report.num_notes, report.num_notes_kept, report.effective_num_files) == (100, 40, 1)
    assert [(each.group, each.share, each.share_kept) for each in report.groups] == [("x", 0.75, 0), ("y", 0.25, 1)]
    assert report.group_coverage == 0.5
    assert sum(report.score_counts) == 4
    assert report.score_counts_kept[-1] == sum(report.score_counts_kept) == 1
    assert report.score_coverage == 0.25
    mixed = (0.375, 0.625)
    by_hand = 0.5 * (0.75 * math.log2(0.75 / mixed[0]) + 0.25 * math.log2(0.25 / mixed[1])) + 0.5 * math.log2(
        1 / mixed[1]
    )
    assert report.js_divergence == pytest.approx(by_hand)


def test_keeping_everything_changes_nothing():
    report = report_of(keep(pool_of(60), "random", Budget()))
    assert report.js_divergence == pytest.approx(0, abs=1e-12)
    assert report.group_coverage == report.score_coverage == 1
    assert report.score_counts == report.score_counts_kept


def test_weights_bring_the_groups_back_to_their_shares():
    groups = np.repeat(["easy", "hard"], 500)
    scores = np.where(groups == "hard", 2.0, 1.0) + random_keys(map(str, range(1000)), "score")
    pool = Pool.of([f"{number:03d}" for number in range(1000)], scores, groups)
    report = report_of(keep(pool, "calibrated", Budget(fraction=0.5), alpha=0.5))
    assert report.js_divergence > 0.01
    assert report.js_divergence_weighted < 0.001
