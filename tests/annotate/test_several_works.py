"""Titles that name several works, events and places, other scripts, and music that only the description names."""

from __future__ import annotations

import pytest

from aria_data.annotate import annotate


@pytest.mark.parametrize(
    "title",
    [
        "Recital: Mozart Sonata K. 330, Schubert Impromptu Op. 90 No. 2, Ravel Sonatine",
        "Bach Toccata BWV 911 / Brahms Sonata Op. 1",
        "Bach: Prelude and Fugue in C major BWV 846 / Debussy: Clair de lune",
        "Ravel: Miroirs; Debussy: Estampes",
        "Imagine if Mozart, Liszt and Satie wrote this",
    ],
)
def test_works_of_several_composers_have_no_single_composer_or_composition(title):
    found = annotate(title)
    assert (found.composer_id, found.catalogue_number, found.composition_id) == ("", "", "")


@pytest.mark.parametrize(
    "title",
    [
        "Chopin: Nocturnes Op. 9 No. 1 & Op. 27 No. 2",
        "Schubert Sonatas D. 958, 959, 960",
        "Chopin: Etudes Op. 10 & 25",
        "Chopin Etudes Opp. 10 and 25",
        "Schubert Impromptus D. 899 und 935",
        "Chopin Ballades 1 & 4",
        "Chopin: Ballade No. 1 & Scherzo No. 2",
        "Chopin Nocturnes Op. 9 No. 1, No. 2 and No. 3",
    ],
)
def test_several_works_of_one_composer_have_no_composition(title):
    found = annotate(title)
    assert found.composer_id in ("chopin", "schubert")
    assert (found.catalogue_number, found.composition_id) == ("", "")


@pytest.mark.parametrize("title", ["Bach-Busoni: Chaconne BWV 1004", "Schubert: Impromptu Op. 90, D 899 No. 3"])
def test_an_arrangement_and_a_work_with_two_numbers_are_one_work(title):
    assert annotate(title).composition_id


@pytest.mark.parametrize(
    "segment", ["Salle Pleyel", "Wiener Musikverein", "Steinway Model D", "New York", "III. Alla Turca", "Teatro Colon"]
)
def test_a_place_a_piano_or_a_movement_is_no_performer(segment):
    assert annotate(f"Mozart: Sonata K. 331 - {segment}").performer == ""


@pytest.mark.parametrize("place", ["Chopin Airport", "Beethoven-Haus", "Chopin Birthplace", "Schumann Museum"])
def test_a_place_named_after_a_composer_is_no_composer(place):
    assert annotate(f"{place} – Ravel: Sonatine").composer_id == "ravel"


def test_an_event_before_the_work_is_not_read_as_its_head():
    assert annotate("Leeds Competition final: Prokofiev Sonata No. 7 Op. 83").composition_id == "prokofiev:op83"


@pytest.mark.parametrize(
    ("title", "composition_id"),
    [
        ("שופן - נוקטורן אופ. 27 מס' 2", "chopin:op27-2"),
        ("بيتهوفن سوناتا مصنف 27 رقم 2", "beethoven:op27-2"),
        ("Bеethovеn Sonata Op. 27 No. 2", "beethoven:op27-2"),
        ("Scarlatti Sonata Kp. 27", "scarlatti:k27"),
        ("Mozart Sonata K.V. 332", "mozart:k332"),
    ],
)
def test_other_scripts_look_alikes_and_spellings_of_a_catalogue_are_read(title, composition_id):
    assert annotate(title).composition_id == composition_id


def test_the_description_names_the_work_where_the_title_does_not():
    found = annotate("Encore!", "Brahms: Intermezzo in A, Op. 118 No. 2. Filmed at home.\nThanks!")
    assert (found.composer_id, found.composition_id) == ("brahms", "brahms:op118-2")
    assert annotate("Encore!", "My other videos:\nChopin Nocturne Op. 9 No. 2").composition_id == ""


@pytest.mark.parametrize("title", ["Schumann: Carnaval, Kreisleriana", "Schumann Carnaval - Kreisleriana - Papillons"])
def test_names_of_several_works_have_no_composition(title):
    assert (annotate(title).composer_id, annotate(title).composition_id) == ("schumann", "")


@pytest.mark.parametrize(
    ("title", "composition_id"),
    [
        ("Mozart: Sonata K. 331 - Rondo alla Turca", "mozart:k331:3"),
        ("Ravel: Gaspard de la nuit - Ondine", "ravel:m55-1"),
        ("Debussy: Suite bergamasque - Clair de lune", "debussy:l75-3"),
        ("Chopin Etude Op. 10 No. 4, 2 versions", "chopin:op10-4"),
        ("李斯特 钟 La Campanella 帕格尼尼大练习曲 S.141 No.3", "liszt:s141-3"),
        ("Mozart: Sonata K. V. 310", "mozart:k310"),
        ("Mozart - Rondo K V 511", "mozart:k511"),
    ],
)  # fmt: skip
def test_a_part_beside_its_work_is_one_composition_and_the_v_of_kv_no_movement(title, composition_id):
    assert annotate(title).composition_id == composition_id


def test_the_make_of_a_piano_is_no_work():
    assert annotate("Steinway Model D - Chopin Nocturne").composition_id == annotate("Chopin Nocturne").composition_id
    assert annotate("Bösendorfer Imperial plays Liszt").composition_id == ""


@pytest.mark.parametrize("title", ["باخ - بريلود في دو ماجور", "באך - פרלוד ופוגה"])
def test_a_name_that_is_also_a_word_is_believed_beside_a_form_in_arabic_and_hebrew(title):
    assert annotate(title).composer_id == "bach"
