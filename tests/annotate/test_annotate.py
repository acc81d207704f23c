"""What the rules read from titles, tags and descriptions, and what they leave empty."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import assert_bounded

from aria_data.annotate import annotate
from aria_data.annotate.readings import confidence
from aria_data.records import Annotation
from aria_data.repertoire import find_form, find_key
from aria_data.repertoire.forms import arabic
from aria_data.text import clean, fold


def test_a_whole_title_is_taken_apart():
    read = annotate('Beethoven: Piano Sonata No. 14 in C-Sharp Minor, Op. 27 No. 2 "Moonlight": III. Presto agitato')
    assert (read.composer, read.composer_id) == ("Ludwig van Beethoven", "beethoven")
    assert (read.catalogue, read.catalogue_number, read.piece_number, read.movement) == ("op", "27", "2", "3")
    assert (read.form, read.genre, read.period, read.key) == ("sonata", "classical", "classical", "c# minor")
    assert read.composition_id == "beethoven:op27-2:3"
    assert read.annotation_source == "rules"


def test_a_file_name_gives_an_empty_annotation():
    assert annotate("track01") == Annotation(
        title="track01", annotation_source="rules", evidence='{"title": "track01"}'
    )


def test_every_filled_field_has_its_words_and_those_of_the_title_are_in_it():
    title = "Martha Argerich - Chopin: Mazurka in A minor, Op. 17 No. 4"
    read = annotate(title)
    evidence = json.loads(read.evidence)
    for name in ("composer", "performer", "catalogue", "catalogue_number", "piece_number", "form", "key", "title"):
        assert getattr(read, name), name
        assert evidence[name] in title, name
    assert "Frédéric Chopin (1810-1849)" in evidence["period"]


@pytest.mark.parametrize(
    ("title", "performer", "rest"),
    [
        ("Martha Argerich - Chopin: Nocturne op. 9 no. 2", "Martha Argerich", "Nocturne op. 9 no. 2"),
        ("Chopin: Nocturne op. 9 no. 2 - Arthur Rubinstein", "Arthur Rubinstein", "Nocturne op. 9 no. 2"),
        ("Yuja Wang plays Prokofiev Toccata op. 11", "Yuja Wang", None),
        ("Schubert Impromptu D. 899 No. 3 performed by Alfred Brendel", "Alfred Brendel", None),
        ("Schumann Arabeske (Wilhelm Kempff, piano)", "Wilhelm Kempff", None),
        ("Rachmaninoff plays Schumann Carnaval", "Rachmaninoff", None),
        ("Chopin: Prelude in E minor | Grigory Sokolov | live", "Grigory Sokolov", None),
        ("River Flows In You - Yiruma", "", "River Flows In You"),
        ("Chopin: Nocturne - Allegro Molto", "", None),
        ("Beethoven: Rondo - Remastered", "", None),
    ],
)
def test_the_performer_is_found_and_cut_from_the_title(title, performer, rest):
    read = annotate(title)
    assert read.performer == performer
    assert rest is None or read.title == rest


@pytest.mark.parametrize(
    ("title", "number"),
    [
        ("Chopin op.9 no.2", "op 9 2"), ("Chopin Op. 9, Nr. 2", "op 9 2"), ("Chopin opus 9 n° 2", "op 9 2"),
        ("Chopin Op. 9 № 2", "op 9 2"), ("Chopin, Op. 9/2", "op 9 2"), ("Шопен соч. 9 № 2", "op 9 2"),
        ("Chopin Nocturne op. posth.", "op posth "), ("Beethoven Op. 81a", "op 81a "), ("Beethoven WoO 59", "woo 59 "),
        ("Bach BWV 847", "bwv 847 "), ("Bach BWV Anh. 114", "bwv anh114 "),
        ("Bach: WTC 1, BWV 846-869: No. 3", "bwv 848 "),
        ("Mozart K. 331", "k 331 "), ("Mozart KV 331 (300i)", "k 331 "), ("Mozart K331", "k 331 "),
        ("Schubert D. 899 No. 3", "d 899 3"), ("Schubert: Impromptus, Op. 90, D. 899: No. 3", "d 899 3"),
        ("Haydn Hob. XVI:52", "hob xvi:52 "), ("Haydn Sonata Hob.XVI/52", "hob xvi:52 "),
        ("Haydn H. XVI No. 52", "hob xvi:52 "),
        ("Scarlatti Sonata K. 141 / L. 422", "k 141 "), ("Scarlatti L. 422", "l 422 "), ("Liszt S. 244/2", "s 244 2"),
        ("Debussy: Rêverie, L. 68", "l 68 "), ("C.P.E. Bach Wq. 57", "wq 57 "), ("Bartók Sz. 56", "sz 56 "),
        ("Ravel: Miroirs, M. 43: 4. Alborada", "m 43 4"), ("Chopin d 4 b 5", "  "), ("Beethoven L. 5", "  "),
        ("Beethoven: Piano Sonata No. 3, Op. 2", "op 2 3"), ("Beethoven: Sonata in E, Op. 109 No. 30", "op 109 "),
        ("Mozart: Rondo, K. 511 - 1991 Recording", "k 511 "), ("Beethoven Moonlight Sonata", "op 27 2"),
        ("Beethoven: Sonata, Op. 27, 2", "op 27 2"), ("Beethoven op27no2", "op 27 2"),
        ("Chopin: Etudes, Op. 10 Nos. 1-4", "op 10 "), ("Chopin: Etudes, Op. 10: Nos. 3 & 4", "op 10 "),
        ("Chopin: Mazurka, Op. posth. 68 No. 2", "op 68 2"), ("Scarlatti: Sonata, Kk. 141", "k 141 "),
        ("Mozart: Fantasia, KV 385g", "k 385g "), ("Chopin: Nocturne in E-flat, Op. 9", "op 9 2"),
        ("Schubert: Impromptu in G-flat, D. 899", "d 899 3"), ("Janáček: In the Mists, JW VIII/22", "  "),
        ("Strauss, Richard: Sonata, TrV 103", "trv 103 "), ("Purcell: Suite, Z. 660", "z 660 "),
        ("Dvořák: Humoresques, Op. 101, B. 187: No. 7", "op 101 7"), ("Soler: Sonata, R. 84", "r 84 "),
        ("Nielsen: Suite, FS 91", "fs 91 "), ("Bartók: Out of Doors, BB 89", "bb 89 "),
        ("Debussy: Préludes, Livre 2, L. 123, 12: Feux d'artifice", "l 123 12"),
    ],
)  # fmt: skip
def test_catalogue_numbers_are_read_in_their_many_spellings(title, number):
    read = annotate(title)
    assert f"{read.catalogue} {read.catalogue_number} {read.piece_number}" == number


@pytest.mark.parametrize(
    ("title", "composer_id"),
    [
        ("Prelude and Fugue in C minor, BWV 847", "bach"), ("Sonata in E flat, Hob. XVI:52", "haydn"),
        ("Sonata KV 331", "mozart"),
        ("Piano Sonata No. 23 in F minor, Op. 57", "beethoven"), ("Piano Sonata No. 22, Op. 57", ""),
        ("Sonata op. 57", ""),
        ("12 Lieder von Schubert, S. 558: No. 4, Erlkönig", "liszt"), ("Nocturne L. 5", ""),
        ("Rondo in A minor, K.511", "mozart"), ("Piano Sonata in A, K. 331", "mozart"),
        ("Sonata in B minor, K. 87", "scarlatti"), ("Keyboard Sonata in B minor, K. 87 / L. 33", "scarlatti"),
        ("Violin Sonata in G, K. 301", ""), ("Sonata in C, H.XVI No.50", "haydn"),
        ("6 Romanian Folk Dances, BB 68", "bartok"), ("Sonata in B flat, D960", "schubert"),
    ],
)  # fmt: skip
def test_a_catalogue_that_is_one_composers_tells_the_composer(title, composer_id):
    assert annotate(title).composer_id == composer_id


@pytest.mark.parametrize(
    ("title", "composer_id"),
    [
        ("Nocturne No. 2 in E-Flat Major, Op. 9, No. 2", "chopin"), ("12 Etudes, Op. 25: XI. Lento", "chopin"),
        ("Nocturne in C major, Op. 9 No. 2", ""), ("Piano Sonata, Op. 10 No. 3", ""),
        ("Piano Sonata in D major, Op. 10 No. 3", "beethoven"), ("Scherzo, Op. 31", "chopin"),
        ("Zebulon Qwxyz: Nocturne in E-Flat Major, Op. 9 No. 2", ""), ("Qwxyz: Etude, Op. 10 No. 4", ""),
        ("Lyric Pieces, Book 5, Op. 54: No. 5, Scherzo", "grieg"), ("Gaspard de la nuit: 1. Ondine", "ravel"),
        ("Kreisleriana: 1. Äußerst bewegt", "schumann"), ("Pictures at an Exhibition: X. The Great Gate", "mussorgsky"),
        ("3 Gymnopédies: 1. Lent", "satie"), ("Carnaval, Op. 9: 12. Chopin", "schumann"),
        ("Clair de lune", ""), ("Ondine", ""), ("Sonata No. 2", ""),
    ],
)  # fmt: skip
def test_a_work_that_is_one_composers_tells_the_composer(title, composer_id):
    assert annotate(title).composer_id == composer_id


def test_a_composer_told_by_a_work_is_evidenced_by_words_of_the_title():
    for title in ("Nocturne No. 2 in E-Flat Major, Op. 9, No. 2", "Hungarian Rhapsodies: 2", "Gaspard de la nuit"):
        evidence = json.loads(annotate(title).evidence)
        assert evidence["composer"] in title


@pytest.mark.parametrize(
    ("title", "movement"),
    [
        ("Beethoven: Sonata op. 13: III. Rondo", "3"), ("Beethoven: Sonata op. 13: 3. Rondo", "3"),
        ("Beethoven: Sonata op. 13 - III. Rondo", "3"), ("Beethoven Sonata op. 13, 3rd movement", "3"),
        ("Beethoven Sonata op. 13 mvt 3", "3"), ("Beethoven Sonate op. 13, 3. Satz", "3"),
        ("ベートーヴェン 月光 第3楽章", "3"),
        ("Beethoven: Sonata op. 110: IIIa. Adagio", "3a"), ("Beethoven: Sonata op. 110: III. (b) Fuga", "3b"),
        ("Beethoven: Sonata op. 13: III Rondo", "3"), ("Haydn: Sonata in C, Hob. XVI:50", ""),
        ("Рахманинов: Прелюдия соч. 23 № 5", ""), ("Бетховен: Соната № 14, 3-я часть", "3"),
        ("Brahms: Paganini Variations, Op. 35, Book 2: Variation III", "book2-var3"),
        ("Beethoven: Sonata op. 111: II. Arietta - Var. I - Var. II", "2"),
        ("Bach: Goldberg Variations: Variatio 8 a 2 Clav.", "var8"),
        ("Bach: Prelude and Fugue in C minor, BWV 847: Fugue", "fugue"), ("Bach: Prelude and Fugue BWV 847", ""),
        ("Beethoven: Sonata op. 13", ""),
    ],
)  # fmt: skip
def test_movements_are_read(title, movement):
    assert annotate(title).movement == movement


@pytest.mark.parametrize(
    ("title", "composition_id"),
    [
        ("Chopin: Ballade No. 1 in G minor", "chopin:op23"), ("Chopin: Ballade in G minor, Op. 23", "chopin:op23"),
        ("Chopin: Waltz No. 7", "chopin:op64-2"), ("Chopin: Waltzes, Op. 64: No. 2", "chopin:op64-2"),
        ("Bach: WTC I, Prelude No. 2 in C minor", "bach:bwv847:prelude"),
        ("Bach: Das Wohltemperierte Klavier I: Prelude No. 2", "bach:bwv847:prelude"),
        ("Ravel: Gaspard de la nuit: I. Ondine", "ravel:m55-1"), ("Ravel: Ondine", "ravel:m55-1"),
        ("Debussy - Clair de Lune", "debussy:l75-3"),
        ("Debussy: Suite bergamasque, L. 75: III. Clair de lune", "debussy:l75-3"),
        ("Scott Joplin - Maple Leaf Rag", "joplin:maple-leaf-rag"),
        ("Satie: 3 Gymnopédies: No. 1", "satie:gymnopedie-1"),
        ("Mozart: Rondo alla turca", "mozart:k331:3"), ("Mozart: Sonata K. 331: III. Alla turca", "mozart:k331:3"),
        ("Bach: French Suite No. 5: III. Sarabande", "bach:bwv816:sarabande"),
        ("Bach: French Suite No. 5, BWV 816: 3. Sarabande", "bach:bwv816:sarabande"),
        ("Schubert: Impromptus, Op. 90: No. 3", "schubert:d899-3"),
        ("Schubert: Impromptu, D. 899/3", "schubert:d899-3"),
        ("Mozart: Sonata, K. 300i: III. Alla turca", "mozart:k331:3"),
        ("Scarlatti: Sonata, K. 87: Andante", "scarlatti:k87"),
        ("Mozart: Rondo in D, K. 485: Allegro", "mozart:k485"),
        ("Mendelssohn: Lied, Op. 19b No. 1", "mendelssohn:op19-1"),
        ("Chopin: Nocturne in C-sharp minor, Op. posth.", "chopin:nocturne.20"),
        ("Albéniz: Iberia, Book 2: III. Triana", "albeniz:iberia-6"),
        ("Schumann: Symphonic Etudes, Op. 13: Etude III", "schumann:op13-3"),
        ("chopin_ballade_op23", "chopin:op23"), ("Lang Lang: Beethoven Für Elise", "beethoven:woo59"),
        ("Chopin: Nocturne", ""), ("Chopin: Prelude in A", ""), ("Nocturne No. 2", ""), ("Maple Leaf Rag", ""),
    ],
)  # fmt: skip
def test_titles_of_one_composition_share_an_id_and_vague_ones_have_none(title, composition_id):
    assert annotate(title).composition_id == composition_id


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("in C-sharp minor", "c# minor"), ("C sharp minor", "c# minor"), ("in C# minor", "c# minor"),
        ("in D♭ major", "db major"),
        ("Es-Dur", "eb major"), ("cis-moll", "c# minor"), ("b-moll", "bb minor"), ("h-moll", "b minor"),
        ("As-Dur", "ab major"),
        ("en mi bémol majeur", "eb major"), ("ut dièse mineur", "c# minor"), ("do# menor", "c# minor"),
        ("in do diesis minore", "c# minor"), ("до-диез минор", "c# minor"), ("си-бемоль мажор", "bb major"),
        ("соль минор", "g minor"), ("嬰ハ短調", "c# minor"), ("変ホ長調", "eb major"), ("升C小调", "c# minor"),
        ("올림다 단조", "c# minor"), ("내림마장조", "eb major"), ("Sonata in E flat, Op. 7", "eb major"),
        ("Rondo in A: Allegro", "a major"),
    ],
)  # fmt: skip
def test_keys_are_read_in_many_languages(text, key):
    found = find_key(clean(text, 100))
    assert found
    assert found[0] == key


@pytest.mark.parametrize(
    "text", ["in a minor accident", "Prelude", "a major event", "In Concert", "Opus 5 in Berlin", "do re mi"]
)
def test_what_looks_a_little_like_a_key_is_mostly_none(text):
    assert find_key(text) is None or find_key(text) in [("a minor", "a minor"), ("a major", "a major")]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Valses oubliées", "waltz"), ("Études d'exécution", "etude"), ("Préludes", "prelude"),
        ("Fantaisie-Impromptu", "impromptu"),
        ("Ноктюрн", "nocturne"), ("夜想曲", "nocturne"), ("소나타", "sonata"), ("Praeludium", "prelude"),
        ("Menuett", "minuet"),
        ("Wariacje", "variations"), ("Lieder ohne Worte", "song without words"), ("Studio", "etude"), ("ragged", ""),
    ],
)  # fmt: skip
def test_forms_are_read_in_many_languages(text, form):
    found = find_form(fold(text))
    assert (found[0] if found else "") == form


def test_the_composer_tag_is_believed_before_the_title():
    read = annotate("Prelude op. 3", tags={"Composer": "Rachmaninov, Sergei", "artist": "Van Cliburn"})
    assert (read.composer_id, read.performer) == ("rachmaninoff", "Van Cliburn")
    assert read.annotation_confidence > annotate("Rachmaninoff: Prelude op. 3").annotation_confidence


def test_an_artist_who_composed_it_is_no_performer():
    read = annotate("Nocturne op. 9 no. 2", tags={"artist": "Frédéric Chopin"})
    assert (read.composer_id, read.performer) == ("chopin", "")


def test_a_tag_that_contradicts_the_title_halves_the_confidence():
    agreed = annotate("Chopin: Nocturne op. 9", tags={"composer": "Chopin"})
    contradicted = annotate("Chopin: Nocturne op. 9", tags={"composer": "John Field"})
    assert contradicted.annotation_confidence < 0.6 * agreed.annotation_confidence


def test_a_composer_who_is_not_in_the_list_is_kept_as_written():
    read = annotate("Sonata no. 1", tags={"composer": "Zebulon Qwxyz"})
    assert (read.composer, read.composer_id, read.composition_id) == ("Zebulon Qwxyz", "", "")


def test_the_description_tells_the_composer_of_a_title_that_does_not():
    assert annotate("Nocturne op. 9 no. 2", "Composer: Frédéric Chopin\nPianist: Maria Pires").composer_id == "chopin"
    assert annotate("Nocturne op. 9 no. 2", "Pianist: Maria Pires").performer == "Maria Pires"


def test_the_genre_is_what_the_text_says_or_the_composer_is_known_for():
    assert annotate("Chopin: Nocturne").genre == "classical"
    assert annotate("Chopin Nocturne, jazz version").genre == "jazz"
    assert annotate("Scott Joplin: Elite Syncopations").genre == "ragtime"
    assert annotate("improvisation").genre == ""


def test_more_evidence_is_more_confidence():
    assert confidence(set()) == 0.0
    assert (
        confidence({"form"})
        < confidence({"composer surname"})
        < confidence({"composer surname", "catalogue number"})
        < 1
    )
    assert confidence({"composer tag"}, has_conflict=True) == pytest.approx(confidence({"composer tag"}) / 2)


@pytest.mark.parametrize(
    ("number", "value"), [("iv", 4), ("xvi", 16), ("12", 12), ("xxviii", 28), ("iix", 0), ("abc", 0), ("", 0)]
)
def test_roman_numbers_are_read(number, value):
    assert arabic(number) == value


@settings(deadline=None, max_examples=150)
@given(
    st.text(max_size=200),
    st.text(max_size=100),
    st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=3),
)
def test_any_text_is_survived(title, description, tags):
    read = annotate(title, description, tags=tags)
    assert 0 <= read.annotation_confidence <= 1
    assert json.loads(read.evidence or "{}").keys() <= set(Annotation.__dataclass_fields__)


parts = st.sampled_from(
    [
        "Chopin",
        "Op. 9",
        "No. 2",
        ":",
        " - ",
        "III.",
        "BWV",
        "Hob. XVI:",
        "in C",
        "Sonata",
        "(",
        "１",
        "²",
        "٣",
        "ⅻ",
        "#",
        "posth",
        "\ud800",
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(parts, max_size=12))
def test_any_order_of_words_of_titles_is_survived(words):
    annotate("".join(words), tags={"composer": " ".join(words), "title": "".join(words[::-1])})
    annotate(" ".join(words))


@pytest.mark.parametrize("value", [None, 7, 1.5, b"bytes", ["a"]])
def test_values_that_are_no_text_are_survived(value):
    annotate(value, value, value, {value: value} if isinstance(value, (int, float)) else {"title": value})


@pytest.mark.parametrize(
    "unit",
    [
        "Op. 9 ",
        "a",
        "ピアノ",
        "((",
        "Chopin: ",
        " - ",
        "BWV 1-",
        "no. ",
        "on a theme of ",
        "A B C ",
        "\u0301",
        "var ",
        "i",
    ],
)
@pytest.mark.timeout(120)  # a guard against hanging: tenths of a second are expected
def test_a_title_of_100_kb_costs_no_more_than_one_of_50_kb(unit):
    def annotated(text):
        return annotate(text, text, text, {"title": text, "composer": text, "artist": text})

    assert_bounded(annotated, lambda size: unit * (size // len(unit)))
    read = annotated(unit * (100_000 // len(unit)))
    assert len(read.title) <= 500
    assert len(read.evidence) < 5000
