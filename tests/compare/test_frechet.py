"""The distance of a choice's music from what is tested on, without training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.linalg import sqrtm

from aria_data.compare import CompareConfig, Subset, compare
from aria_data.compare.comparison_report import save_report
from aria_data.compare.differences import BETTER, NO_DIFFERENCE, WORSE
from aria_data.compare.frechet import Space, distance_apart, frechet, rank_agreement
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.surrogate import SurrogateConfig, make_windows
from aria_data.surrogate.histograms import NAMES, histograms_of, sizes_of
from aria_data.surrogate.tokens import TokenConfig

TOKENS = TokenConfig(context_tokens=64, windows_per_file=2)


def tune(seed: int, low: int = 60, gap_s: float = 0.25) -> bytes:
    pitches = low + np.random.default_rng(seed).integers(0, 12, 60)
    return midi_bytes(Performance([Note(gap_s * i, gap_s * i + 0.2, int(p), 64) for i, p in enumerate(pitches)]))


def files_of_two_kinds(num: int = 24) -> dict[str, bytes]:
    """Half of them as `test-...`, in the same octave; the others, `far-...`, low and fast."""
    near = {f"{'test' if n < 8 else 'near'}-{n:02d}": tune(n) for n in range(num)}
    return near | {f"far-{n:02d}": tune(n, 30, 0.06) for n in range(num)}


@pytest.fixture(scope="module")
def windows():
    return make_windows(files_of_two_kinds(), TOKENS)


def numbers(windows, start: str) -> np.ndarray:
    return np.array([number for number, name in enumerate(windows.ids) if name.startswith(start)])


def test_histograms_count_what_was_played():
    notes = [Note(0.0, 0.4, 60, 64), Note(0.5, 0.9, 64, 64), Note(1.0, 1.4, 60, 64), Note(1.5, 1.9, 91, 64)]
    windows = make_windows({"a": midi_bytes(Performance(notes))}, TokenConfig(min_notes=4))
    parts = np.split(histograms_of(windows)[0], np.cumsum(list(sizes_of(windows.config).values()))[:-1])
    found = dict(zip(NAMES, parts, strict=True))
    assert found["pitch_class"][[0, 4, 7]].tolist() == [0.5, 0.25, 0.25]
    assert found["octave"][[4, 6]].tolist() == [0.75, 0.25]
    assert all(part.sum() == pytest.approx(1) for part in parts)
    assert found["duration"].argmax() == found["time"].argmax() == 6  # 0.4 and 0.5 s lie in 0.35 to 0.6


def test_the_distance_is_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    mean, other = rng.normal(size=5), rng.normal(size=5)
    a, b = (each @ each.T for each in rng.normal(size=(2, 5, 5)))
    expected = np.square(mean - other).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet((mean, a), (other, b)) == pytest.approx(expected)
    assert frechet((mean, a), (mean, a)) == pytest.approx(0, abs=1e-6)


def test_what_sounds_like_what_is_tested_on_is_closer(windows):
    open_files = np.concatenate([numbers(windows, "near"), numbers(windows, "far")])
    space = Space.of(windows, numbers(windows, "test"))
    near, far = (space.distance(files := numbers(windows, name), np.ones(len(files))) for name in ("near", "far"))
    assert near < far / 3
    weights = np.where(np.isin(np.sort(open_files), numbers(windows, "near")), 1.0, 1e-6)
    assert space.distance(np.sort(open_files), weights) == pytest.approx(near, rel=1e-3)


def test_a_distance_is_compared_with_that_of_random_draws():
    random = np.array([3.0, 3.1, 2.9])
    assert distance_apart(np.array([1.0]), random, 0.95).verdict == BETTER
    assert distance_apart(np.array([3.05]), random, 0.95).verdict == NO_DIFFERENCE
    assert distance_apart(np.array([9.0, 9.1]), random, 0.95).verdict == WORSE
    assert (
        rank_agreement([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [np.array([5.0, 6.0]), np.array([7.0, 9.0])]) == 1
    )
    assert rank_agreement([np.array([1.0, 2.0])], [np.array([5.0, 6.0])]) is None


def test_a_comparison_reports_the_distance_beside_the_loss(windows, tmp_path):
    network = SurrogateConfig(width=16, layers=1, heads=2, batch_windows=8, device="cpu")
    test = [windows.ids[number] for number in numbers(windows, "test")]
    subsets = {name: Subset([windows.ids[n] for n in numbers(windows, name)][:12]) for name in ("near", "far")}
    found = compare(windows, subsets, CompareConfig(num_steps=4, surrogate=network), test)
    rows = {row.name: row for row in found.rows}
    assert rows["near"].distance < rows["random files (12)"].distance < rows["far"].distance
    assert rows["near"].distance_against_random.verdict == BETTER
    save_report(found, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert all(word in report for word in ("closer", "Spearman's rho"))
    assert {row["name"] for row in json.loads((tmp_path / "comparison.json").read_text())["rows"] if row["distance"]}
