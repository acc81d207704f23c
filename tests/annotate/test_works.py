"""Titles of one work: pairs of titles, and whether they name one composition, one work, or different works.

`tests/data/work_pairs.csv` has the pairs, made for this test. "id" is one composition, so one `composition_id`; "work"
a work and a part of it, or two parts, which share a split; "different" neither.
"""

from __future__ import annotations

import csv

import pytest
from joined import groups_of
from places import DATA

from aria_data.annotate import annotate
from aria_data.repertoire import work_labels

with (DATA / "work_pairs.csv").open(encoding="utf-8", newline="") as lines:
    PAIRS = [(row["verdict"], row["left"], row["right"]) for row in csv.DictReader(lines)]


@pytest.mark.parametrize(("verdict", "left", "right"), PAIRS)
def test_titles_of_one_composition_share_an_id_and_those_of_one_work_a_split(verdict, left, right):
    ids = [annotate(title).composition_id for title in (left, right)]
    assert all(ids), ids
    if verdict == "id":
        assert ids[0] == ids[1]
    else:
        labels = work_labels(ids)
        groups = groups_of({side: labels[composition_id] for side, composition_id in zip("lr", ids, strict=True)})
        assert len(groups) == (1 if verdict == "work" else 2), ids


def test_the_composer_of_a_tag_does_not_make_another_work_of_a_catalogue_number():
    titles = "Minuet in G major, BWV Anh. 114", "Minuet in G, BWV Anh. II 114", "Menuett G-Dur, BWV Anhang 114"
    tags = [{"composer": "Christian Petzold"}, {"composer": "Johann Sebastian Bach"}, {}]
    read = [annotate(title, tags=each) for title in titles for each in tags]
    assert {each.composition_id for each in read} == {"bach:bwvanh114"}
    assert {each.composer_id for each in read} == {"petzold", "bach"}
