"""A work and its movements are one work; pieces of an opus are works of their own, unless the whole opus is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joined import groups_of

from aria_data.repertoire import work_labels, work_of


@pytest.mark.parametrize(
    ("composition_id", "work"),
    [
        ("beethoven:op27-2:3", "beethoven:op27-2"), ("beethoven:op27-2", "beethoven:op27-2"),
        ("beethoven:op13:1", "beethoven:op13"), ("mozart:k331:3", "mozart:k331"), ("handel:hwv430:4", "handel:hwv430"),
        ("bach:bwv847:fugue", "bach:bwv847"), ("bach:bwv816:minuet2", "bach:bwv816"),
        ("bach:bwv988:var5", "bach:bwv988"), ("brahms:op35:book2-var3", "brahms:op35"),
        ("haydn:hobxvi:52", "haydn:hobxvi:52"), ("haydn:hobxvi:52:1", "haydn:hobxvi:52"),
        ("schumann:op15-7", "schumann:op15"), ("schumann:op13:var3", "schumann:op13"), ("debussy:l75-3", "debussy:l75"),
        ("ravel:m55-1", "ravel:m55"), ("mussorgsky:pictures-8b", "mussorgsky:pictures"),
        ("mussorgsky:pictures:promenade", "mussorgsky:pictures"), ("tchaikovsky:op37a-6", "tchaikovsky:op37a"),
        ("chopin:op9-2", "chopin:op9-2"), ("chopin:op10-12", "chopin:op10-12"), ("brahms:op118-2", "brahms:op118-2"),
        ("debussy:l117-8", "debussy:l117-8"), ("liszt:s244-2", "liszt:s244-2"),
        ("chopin:nocturne.20", "chopin:nocturne.20"),
        ("bach:bwv846-869", "bach:bwv846-869"), ("joplin:maple-leaf-rag", "joplin:maple-leaf-rag"),
        ("bach_cpe:wq117-2", "bach_cpe:wq117-2"), ("", ""),
    ],
)  # fmt: skip
def test_a_composition_belongs_to_its_whole_work(composition_id, work):
    assert work_of(composition_id) == work


def joined(*composition_ids: str) -> set[frozenset[str]]:
    """The compositions that share a split, as a release joins them."""
    labels = work_labels(composition_ids)
    return {frozenset(group) for group in groups_of({each: labels.get(each, ()) for each in composition_ids})}


def test_pieces_of_an_opus_are_apart_until_somebody_records_the_whole_opus():
    pieces = "chopin:op9-1", "chopin:op9-2", "chopin:op27-1"
    assert joined(*pieces) == {frozenset({piece}) for piece in pieces}
    assert joined(*pieces, "chopin:op9") == {
        frozenset({"chopin:op9", "chopin:op9-1", "chopin:op9-2"}), frozenset({"chopin:op27-1"}),
    }  # fmt: skip


def test_a_movement_of_an_opus_of_sonatas_is_with_the_recording_of_the_opus():
    assert joined("beethoven:op31-2:3", "beethoven:op31") == {frozenset({"beethoven:op31-2:3", "beethoven:op31"})}


def test_a_book_of_a_catalogue_is_with_every_number_in_it_and_no_other():
    first, second = {"bach:bwv846-869", "bach:bwv846:prelude", "bach:bwv869"}, {"bach:bwv870", "bach:bwv845"}
    others = {frozenset({each}) for each in (*second, "handel:bwv850", "bach:bwvanh114")}
    assert joined(*first, *second, "handel:bwv850", "bach:bwvanh114") == {frozenset(first), *others}


def test_a_name_for_several_opuses_is_with_all_of_them():
    assert joined("liszt:annees", "liszt:s160-6", "liszt:s163") == {
        frozenset({"liszt:annees", "liszt:s160-6", "liszt:s163"})
    }
    assert joined("liszt:s160-6", "liszt:s163") == {frozenset({"liszt:s160-6"}), frozenset({"liszt:s163"})}


def test_one_composers_opus_is_not_anothers():
    assert len(joined("chopin:op9", "schumann:op9-12", "brahms:op9:var1")) == 3


@given(st.text(max_size=40))
def test_any_id_is_survived_and_a_work_is_its_own_work(composition_id):
    assert work_of(work_of(composition_id)) == work_of(composition_id)
    assert set(work_labels([composition_id])) == {composition_id} - {""}
