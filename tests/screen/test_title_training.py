"""Training the title model: one call, the same weights twice, held-out figures, a calibration that keeps order."""

from __future__ import annotations

import csv
from itertools import product

import numpy as np
import pytest

from aria_data.screen import title_training
from aria_data.screen.learned import calibrated
from aria_data.screen.title_corpus import NUM_FOLDS, fold_of
from aria_data.screen.title_model import squared

SURNAMES = ("Arlo", "Brant", "Corvin", "Delm", "Eskil", "Fenn", "Gorm", "Hask", "Ivo", "Jarl", "Kord", "Lund")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Works of made-up composers: nocturnes are for piano, quartets are not, pieces may be either."""
    folder = tmp_path_factory.mktemp("works")
    with open(folder / "works.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("composer", "title", "catalogue", "instrumentation", "is_solo_keyboard"))
        for surname, number in product(SURNAMES, range(1, 7)):
            writer.writerow((f"Max {surname}", f"Nocturne No. {number}", "", "piano", 1))
            writer.writerow((f"Max {surname}", f"String Quartet No. {number}", "", "2 violins, viola, cello", 0))
            writer.writerow((f"Max {surname}", f"Piece, Op. {number}", "", "?", number % 2))
    labels = folder / "labels.txt"
    labels.write_text("title,label\nNocturne for piano,1\nString quartet,0\n", encoding="utf-8")
    return folder, labels


@pytest.fixture(scope="module")
def trained(tables):
    said: list[tuple[int, int, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(title_training, "_NUM_STEPS", 8)
        runs = [title_training.train(*tables, lambda *step: said.append(step)) for _ in range(2)]
    return runs, said


def test_the_same_tables_give_the_same_weights_to_the_byte(trained, tmp_path):
    hashes = set()
    for number, (model, _) in enumerate(trained[0]):
        (tmp_path / str(number)).mkdir()
        hashes.add(title_training.save(model, tmp_path / str(number)))
    assert len(hashes) == 1


def test_the_weights_are_read_as_they_were_written(trained, tmp_path):
    model = trained[0][0][0]
    title_training.save(model, tmp_path)
    with np.load(tmp_path / "title_model.npz") as stored:
        np.testing.assert_array_equal(squared(stored["weights"]), model.squared)
        np.testing.assert_array_equal(stored["calibration"], model.calibration)


def test_training_says_where_it_is_and_gives_figures_on_composers_that_it_held_out(trained):
    (_, figures), said = trained[0][0], trained[1]
    assert [done for done, _, _ in said[: len(said) // 2]] == list(range(len(said) // 2))
    assert said[-1][0] == said[-1][1]
    assert set(figures["precision_recall_f1_by_fold"]) == {fold_of(name) for name in SURNAMES}
    low, high = figures["f1_interval"]
    assert low <= figures["precision_recall_f1"]["0.40"][2] <= high
    assert figures["reliability"]["expected_calibration_error"] >= 0


def test_a_strangers_name_comes_from_the_fold_that_its_work_is_in(tables):
    works = title_training.read_works(tables[0])
    folds = np.array([fold_of(work.composer) for work in works])
    spelled = title_training._spelled(works, folds)
    for title, fold in zip(spelled, np.tile(folds, len(spelled) // len(folds)), strict=True):
        assert {fold_of(name) for name in SURNAMES if name in title} <= {fold}
    assert len(set(folds)) == NUM_FOLDS


def test_a_calibration_keeps_the_order_of_titles():
    knots = np.array([[-3.0, -1.0, 0.5, 2.0], [-4.0, -0.5, -0.5, 3.0]])
    values = np.linspace(-9, 9, 200)
    found = calibrated(values, knots)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found[[0, -1]], [-10.0, 10.0])
