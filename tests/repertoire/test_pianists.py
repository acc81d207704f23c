"""The list of pianists is sound; a pianist is found in many spellings, and nobody is where only a surname stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import assert_bounded

from aria_data.annotate import annotate
from aria_data.repertoire import find_pianist
from aria_data.repertoire.pianists import pianists
from aria_data.text import fold


def found(text: str, is_name: bool = False) -> str:
    match = find_pianist(text, is_name)
    return match.pianist_id if match else ""


def test_the_list_is_long_and_its_rows_make_sense():
    assert len(pianists()) >= 300
    for pianist_id, pianist in pianists().items():
        assert pianist_id == fold(pianist_id) == pianist.pianist_id
        assert " " not in pianist_id
        assert pianist.birth, pianist_id
        assert pianist.death is None or 15 < pianist.death - pianist.birth < 110, pianist_id
        assert len(set(pianist.aliases)) == len(pianist.aliases), pianist_id


def test_every_pianist_is_found_by_name_and_alias():
    for pianist in pianists().values():
        for name in (pianist.name, *pianist.aliases):
            assert found(name.rstrip("?"), is_name=True) == pianist.pianist_id, name


@pytest.mark.parametrize(
    ("text", "pianist_id"),
    [
        ("Sviatoslav Richter plays Schubert", "richter_sviatoslav"), ("Richter, Sviatoslav", "richter_sviatoslav"),
        ("Святослав Рихтер", "richter_sviatoslav"), ("スヴャトスラフ・リヒテル", "richter_sviatoslav"),
        ("里赫特 舒伯特", "richter_sviatoslav"), ("Artur Rubinstein", "rubinstein_arthur"),
        ("조성진 쇼팽", "cho_seong_jin"), ("Maria Joao Pires", "pires_maria_joao"),
        ("マルタ・アルゲリッチ ショパン", "argerich_martha"), ("Yevgeny Kissin", "kissin_evgeny"),
        ("Benedetti Michelangeli: Debussy", "benedetti_michelangeli_arturo"),
    ],
)  # fmt: skip
def test_many_spellings_are_one_pianist(text, pianist_id):
    assert found(text) == pianist_id


@pytest.mark.parametrize("text", ["Richter: Etude", "Gould mine", "Gary Cooper", "Rachmaninoff: Prelude", "", "Serkin"])
def test_a_surname_or_another_person_is_nobody(text):
    assert found(text) == ""


def test_a_surname_alone_counts_in_a_performers_tag_if_one_pianist_bears_it():
    assert found("Argerich", is_name=True) == "argerich_martha"
    assert found("Richter, S.", is_name=True) == "richter_sviatoslav"
    assert found("Fischer", is_name=True) == ""  # Annie or Edwin


def test_a_match_says_where_and_how():
    match = find_pianist("Encore: Krystian Zimerman")
    assert match
    assert (match.text, match.start, match.matched_by) == ("Krystian Zimerman", 8, "full name")


@pytest.mark.parametrize(
    ("title", "uploader", "performer", "performer_id"),
    [
        ("Chopin: Nocturne, Op. 9 No. 2 - Arthur Rubinstein", "", "Arthur Rubinstein", "rubinstein_arthur"),
        ("Chopin Ballade No. 1 Krystian Zimerman live", "", "Krystian Zimerman", "zimerman_krystian"),
        ("Chopin: Ballade No. 1", "Krystian Zimerman - Topic", "Krystian Zimerman", "zimerman_krystian"),
        ("Chopin: Ballade No. 1", "pianofan77", "", ""),
        ("Paderewski: Menuet in G", "", "", ""),
        ("Zoltan Bach plays Chopin", "", "Zoltan Bach", ""),
    ],
)
def test_the_performer_gets_an_id_where_the_list_knows_the_name(title, uploader, performer, performer_id):
    read = annotate(title, uploader=uploader)
    assert (read.performer, read.performer_id) == (performer, performer_id)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=100), st.sampled_from(["Martha Argerich", "リヒテル", "Lang Lang"]))
def test_any_text_around_a_name_is_survived(text, name):
    match = find_pianist(text + name + text)
    assert match is None or match.pianist_id in pianists()


@pytest.mark.parametrize("unit", ["Lang ", "a", "リヒ", "Maria "])
@pytest.mark.timeout(120)  # a guard against hanging: hundredths of a second are expected
def test_a_text_of_100_kb_costs_no_more_than_one_of_50_kb(unit):
    assert_bounded(find_pianist, lambda size: unit * (size // len(unit)))
