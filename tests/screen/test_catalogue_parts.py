"""A catalogue number tells whether a work is for piano alone, where the catalogue is ordered by instruments."""

from __future__ import annotations

import pytest

from aria_data.repertoire.composers import composers
from aria_data.screen import probability_of_solo_piano
from aria_data.screen.catalogue_parts import _catalogues, is_for_piano_alone
from aria_data.screen.screening import ScreenConfig
from aria_data.screen.title_features import _numbers
from aria_data.screen.title_rules import read_title
from flows.tools.title_lists import candidate_of


def told(title: str) -> bool | None:
    read = read_title(title, 500)
    return is_for_piano_alone(read.cleaned, read.composer.composer_id if read.composer else "", _numbers(read))


@pytest.mark.parametrize(
    "title",
    [
        "Bach: BWV 846", "BWV 988", "Liszt: Am stillen Herd, S. 448", "Liszt - Suse, LW.A150", "Haydn Hob. XVI:52",
        "Mendelssohn MWV U 199", "D. Scarlatti K. 141", "Handel HWV 430", "Beethoven WoO 59", "CPE Bach Wq 61",
    ],
)  # fmt: skip
def test_a_number_in_a_part_for_piano_says_so(title):
    assert told(title) is True


@pytest.mark.parametrize(
    "title",
    [
        "Bach: BWV 1007", "Bach: BWV 140", "Liszt: Les Préludes, S. 97", "Liszt LW.H8", "Haydn Hob. XV:25",
        "Haydn Hob. I:94", "Mendelssohn MWV N 16", "Vivaldi RV 580", "Handel HWV 56", "Beethoven WoO 28",
    ],
)  # fmt: skip
def test_a_number_in_another_part_says_that(title):
    assert told(title) is False


@pytest.mark.parametrize("title", ["Chopin Op. 9 No. 2", "Mozart K. 331", "Bach BWV Anh. 114", "track 16", ""])
def test_a_number_of_a_catalogue_in_order_of_time_says_nothing(title):
    assert told(title) is None


def test_the_parts_are_those_of_composers_in_the_list_and_do_not_overlap():
    for composer_id, catalogues in _catalogues().items():
        assert composer_id in composers()
        for parts in catalogues.values():
            numbers = [
                number
                for name in ("solo", "other")
                for first, _, last in (each.partition("-") for each in parts.get(name, "").split())
                for number in range(int(first), int(last or first) + 1)
            ]
            assert len(numbers) == len(set(numbers))


def test_of_two_numbers_that_for_piano_is_the_more_probable():
    piano, other = (candidate_of(0, {"title": title}) for title in ("Liszt, S. 448", "Liszt, S. 97"))
    assert probability_of_solo_piano(piano, ScreenConfig()) > probability_of_solo_piano(other, ScreenConfig())
