"""The authority list is sound, and a composer is found where one is named and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import assert_bounded, num_calls

from aria_data.repertoire import find_composer, find_composers
from aria_data.repertoire.composers import _spellings, composers
from aria_data.text import clean, fold

PERIODS = {"renaissance", "baroque", "classical", "romantic", "impressionist", "modern", "contemporary"}


def found(text: str) -> str:
    match = find_composer(text)
    return match.composer_id if match else ""


def test_the_list_is_long_and_its_rows_make_sense():
    assert len(composers()) >= 600
    for composer_id, composer in composers().items():
        assert composer_id == fold(composer_id).replace(" ", "_") == composer.composer_id
        assert composer.period in PERIODS, composer_id
        assert composer.genre, composer_id
        assert composer.birth, composer_id
        assert composer.death is None or 20 < composer.death - composer.birth < 110 or composer_id == "filtsch"
        assert len(set(composer.aliases)) == len(composer.aliases), composer_id


def test_every_composer_is_found_by_full_name():
    for composer in composers().values():
        assert found(composer.name) == composer.composer_id, composer.name
        assert found(f"{composer.name}: Sonata No. 1") == composer.composer_id


def test_every_alias_is_found_and_belongs_to_one_composer():
    for composer in composers().values():
        for alias in composer.aliases:
            match = find_composer(alias.rstrip("?"), is_name=True)
            assert match, alias
            assert match.composer_id == composer.composer_id, alias


@pytest.mark.parametrize(
    ("text", "composer_id"),
    [
        ("Chopin: Nocturne", "chopin"), ("nocturne by CHOPIN", "chopin"), ("Fryderyk Chopin", "chopin"),
        ("Rachmaninov Prelude", "rachmaninoff"), ("Rachmaninoff Prelude", "rachmaninoff"),
        ("Rakhmaninov", "rachmaninoff"),
        ("Tschaikowsky: Jahreszeiten", "tchaikovsky"), ("Čajkovskij", "tchaikovsky"), ("Händel Suite", "handel"),
        ("Bach, J.S.: Prelude", "bach"), ("J. S. Bach", "bach"), ("C.P.E. Bach: Solfeggietto", "bach_cpe"),
        ("Bach, C.P.E.", "bach_cpe"), ("Schumann, Clara: Scherzo", "schumann_clara"),
        ("Fanny Hensel", "mendelssohn_fanny"),
        ("R. Strauss: Stimmungsbilder", "strauss_richard"), ("Johann Strauss II", "strauss_ii"),
        ("Dvorak Humoresque", "dvorak"),
        ("Шопен Ноктюрн", "chopin"), ("Прелюдия Рахманинова", "rachmaninoff"), ("Музыка Чайковского", "tchaikovsky"),
        ("ショパンのノクターン", "chopin"), ("肖邦夜曲", "chopin"), ("쇼팽의 녹턴", "chopin"),
        ("Μπετόβεν", "beethoven"),
        ("オッフェンバッハ", "offenbach"), ("Chopin's Nocturne", "chopin"), ("Beethovens Sonaten", "beethoven"),
        ("moonlight_sonata_beethoven", "beethoven"), ("Saint-Saens", "saint_saens"), ("de Falla: Danza", "falla"),
        ("Scott Joplin - Maple Leaf Rag", "joplin"), ("Yiruma - River Flows in You", "yiruma"),
        ("Rachmaninov, S.", "rachmaninoff"), ("Strauss, R.: Sonata", "strauss_richard"),
        ("Johann Strauss Sr.", "strauss_i"), ("Bach, Johann Christian", "bach_jc"), ("W.F. Bach: Fantasia", "bach_wf"),
        ("Alessandro Scarlatti: Toccata", "scarlatti_alessandro"), ("Scarlatti: Sonata", "scarlatti"),
        ("Michael Haydn", "haydn_michael"), ("Leopold Mozart: Menuet", "mozart_leopold"),
        ("Fanny Mendelssohn: Das Jahr", "mendelssohn_fanny"), ("Louis Couperin: Chaconne", "couperin_louis"),
        ("Nikolai Tcherepnin", "tcherepnin_nikolai"), ("Nadia Boulanger: Pièce", "boulanger_nadia"),
        ("Lili Boulanger: Cortège", "boulanger"), ("Ｃｈｏｐｉｎ", "chopin"), ("Cho\u0301pin", "chopin"),
    ],
)  # fmt: skip
def test_many_spellings_are_one_composer(text, composer_id):
    assert found(text) == composer_id


@pytest.mark.parametrize(
    ("text", "composer_id"),
    [
        ("Schubert/Liszt: Ständchen", "schubert"), ("Bach-Busoni: Chaconne", "bach"), ("Ave Maria (arr. Liszt)", ""),
        ("Schubert: Ave Maria (arr. Liszt)", "schubert"), ("Nocturne in the style of Chopin", ""),
        ("Hommage à Rameau", ""), ("Toccata after Bach", ""), ("In the style of Debussy", ""),
        ("Nocturne (Hommage à Chopin)", ""), ("Bach: Chaconne, arr. Busoni", "bach"),
        ("Sebastian Bach plays Satie", "satie"),
        ("Debussy: Hommage à Rameau", "debussy"), ("Brahms: Variations on a Theme by Paganini", "brahms"),
        ("Variations on a theme of Handel - Brahms", "brahms"), ("Rachmaninoff plays Chopin", "chopin"),
        ("Grieg: Sonata, played by Rachmaninoff", "grieg"), ("17th Chopin Competition: Seong-Jin Cho", ""),
        ("Marc-André Hamelin - Alkan: Festin", "alkan"),
        ("Daniel Barenboim - Ludwig van Beethoven: Sonata", "beethoven"),
        ("Schumann: Carnaval, Op. 9: 12. Chopin", "schumann"),
    ],
)  # fmt: skip
def test_who_arranged_inspired_or_played_is_not_the_composer(text, composer_id):
    assert found(text) == composer_id


@pytest.mark.parametrize(
    "text",
    ["a field of flowers", "Part 1", "Janis Joplin - Mercedes Benz", "Anna Bach plays piano", "Black cage",
     "Still alive",
     "bachelor party", "ravelling", "플레이리스트", "プレイリスト", "Strauss", "The glass piano", "P. D. Q. Bach", ""],
)  # fmt: skip
def test_a_word_or_another_person_is_no_composer(text):
    assert found(text) == ""


def test_a_doubtful_surname_counts_where_the_text_names_a_work():
    assert found("Field: Nocturne No. 5") == "field"
    assert found("Field's Nocturne No. 5") == "field"


def test_a_match_says_where_and_how():
    match = find_composer("Ballade de Frédéric Chopin")
    assert match
    assert (match.text, match.start, match.matched_by) == ("Frédéric Chopin", 11, "full name")
    assert [m.role for m in find_composers("Bach-Busoni")] == ["composer", "arranger"]


@given(st.text(max_size=200))
def test_folding_moves_no_character(text):
    assert len(fold(text)) == len(text)


@given(st.text(max_size=200))
def test_clean_text_is_one_short_printable_line(text):
    cleaned = clean(text, 50)
    assert len(cleaned) <= 50
    assert cleaned == " ".join(cleaned.split())


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=200), st.sampled_from(["Chopin", "arr. Liszt", "ショパン", "Шопена", "J. S. Bach", "Field:"]))
def test_any_text_around_a_name_is_survived(text, name):
    for match in find_composers(text + name + text):
        assert match.composer_id in composers()


def test_the_work_for_a_title_grows_with_the_title_and_not_with_the_list():
    title = "Piano Sonata No. 14 in C-Sharp Minor, Op. 27 No. 2: III. Presto - Beethoven"
    find_composer(title)
    calls = num_calls(find_composer, title)
    assert calls < 1500  # about 970; the names of the list are several times as many
    assert len(_spellings()) > 3000
    assert num_calls(find_composer, f"{title} {title}") < 2.2 * calls


@pytest.mark.parametrize(
    "unit", ["Bach ", "a", "ショ", "([", "arr. by ", "variations on a theme of ", "I. ", "\u0301", "ﷺ"]
)
@pytest.mark.timeout(120)  # a guard against hanging: hundredths of a second are expected
def test_a_text_of_100_kb_costs_no_more_than_one_of_50_kb(unit):
    assert_bounded(find_composer, lambda size: unit * (size // len(unit)))
