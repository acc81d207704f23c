"""The score of a text by the rules, in many languages, and for hostile text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import assert_bounded

from aria_data.records import Candidate, Verdict
from aria_data.screen import ScreenConfig, screen
from aria_data.screen.screening import verdict


def candidate(title: str, description: str = "", uploader: str = "", tags: str = "") -> Candidate:
    return Candidate("local-1", "local", "/a.mp3", "a.mp3", title, description, uploader, tags=tags)


def score(title: str, description: str = "") -> int:
    return screen(candidate(title, description), ScreenConfig(scorer="rules")).relevance_score


@pytest.mark.parametrize(
    "title",
    [
        "Improvisation for solo piano", "Beethoven: Piano Sonata No. 8", "Klaviersonate Nr. 3", "Recital de piano",
        "Musique pour piano seul", "Sonata per pianoforte", "Obras para piano", "Соната для фортепиано", "ピアノソロ",
        "钢琴独奏", "피아노 독주", "Sonata fortepianowa", "Pianosonate in C",
    ],
)  # fmt: skip
def test_a_piano_alone_is_5(title):
    assert score(title) == 5


@pytest.mark.parametrize(
    "title",
    [
        "Star Wars main theme (orchestral) - piano cover", "Liszt's transcription for piano of a Beethoven symphony",
        "Violin partita, arranged for piano", "Chopin - Nocturne in E flat", "Klavierbearbeitung des Streichquartetts",
        "Arreglo para piano de un cuarteto", "Переложение для фортепиано симфонии", "アニメ主題歌 ピアノアレンジ",
        "小提琴协奏曲 钢琴版", "바이올린 소나타 피아노 편곡", "An evening at the piano",
    ],
)  # fmt: skip
def test_a_piano_or_what_was_arranged_for_it_is_at_least_4(title):
    assert score(title) >= 4


@pytest.mark.parametrize("title", ["track01", "", "untitled (3)", "2021-04-03 recording", "Für Anna", "???"])
def test_a_text_that_does_not_say_is_3(title):
    assert score(title) == 3


@pytest.mark.parametrize(
    "title",
    [
        "Beethoven: Violin Sonata No. 5", "Rachmaninoff: Piano Concerto No. 2", "Brahms: Piano Trio No. 1",
        "Bohemian Rhapsody piano karaoke", "River flows in you (Synthesia tutorial)", "Piano lesson 3",
        "A podcast on pianos",
        "Lofi beats", "Fur Elise remix", "Reacting to a pianist", "Vocal and piano: Winterreise",
        "Piano accompaniment in G",
        "Klavierkonzert Nr. 1", "Violinsonate A-Dur", "Sonate pour violon et piano", "Concierto para piano y orquesta",
        "Concerto per pianoforte e orchestra", "Sonata para violoncelo e piano", "Концерт для фортепиано с оркестром",
        "Скрипичная соната", "ピアノ協奏曲第2番", "ヴァイオリンソナタ", "钢琴协奏曲", "钢琴教程", "피아노 협주곡",
        "피아노 반주",
        "Koncert fortepianowy", "Pianoconcert nr. 3", "Sonate voor viool en piano", "Duet with Anna for cello",
    ],
)  # fmt: skip
def test_what_is_clearly_something_else_is_1(title):
    assert score(title) == 1


@pytest.mark.parametrize("title", ["Fantasie, piano four hands", "Symphony No. 5", "Harpsichord Suite No. 3"])
def test_what_is_hardly_solo_piano_is_2_and_passes_by_default(title):
    assert score(title) == 2
    assert verdict(screen(candidate(title), ScreenConfig(scorer="rules")), ScreenConfig(scorer="rules")).is_kept


@pytest.mark.parametrize(
    "title",
    ["Bach: Italian Concerto BWV 971", "Songs Without Words Op. 19", "Schumann Symphonic Etudes",
     "Minuet and Trio in G",
     "Les collines d'Anacapri", "Andante sotto voce", "Invention à deux voix", "Prélude, choral et fugue"],
)  # fmt: skip
def test_piano_music_whose_name_sounds_like_another_instrument_is_not_refused(title):
    assert score(title) >= 3


def test_the_description_speaks_where_the_title_is_silent():
    assert score("track01", "Chopin for solo piano") == 4
    assert score("track01", "with the London Symphony Orchestra") == 2
    assert score("My piano", "for violin and piano") == 3


def test_a_title_that_is_clear_is_not_changed_by_the_description():
    assert score("Solo piano", "subscribe for violin lessons") == 5
    assert score("Violin sonata", "solo piano") == 1


def test_the_verdict_says_the_reason_and_the_score():
    config = ScreenConfig(min_relevance_score=4, scorer="rules")
    assert verdict(screen(candidate("track01"), config), config) == Verdict(False, "relevance_score_below_min", 3.0)
    assert verdict(screen(candidate("solo piano"), config), config) == Verdict(True, "", 5.0)


def test_evidence_is_the_words_and_is_bounded():
    assert screen(candidate("A violin and a cello"), ScreenConfig(scorer="rules")).evidence == "violin, cello"
    title = "violin cello viola flute oboe clarinet trumpet trombone tuba harp guitar organ " * 20
    assert len(screen(candidate(title), ScreenConfig(scorer="rules")).evidence) <= 200


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=50))
def test_any_text_gets_a_score_from_1_to_5(title, description, uploader):
    screening = screen(candidate(title, description, uploader), ScreenConfig(scorer="rules"))
    assert 1 <= screening.relevance_score <= 5
    assert len(screening.evidence) <= 200


@pytest.mark.parametrize("unit", ["violin ", "a", "ピ", "((", "piano cover ", " ", "\u0301", "ﷺ", "\x00", "\ud800"])
@pytest.mark.timeout(120)  # a guard against hanging: tenths of a second are expected
def test_a_title_of_100_kb_costs_no_more_than_one_of_50_kb(unit):
    def screened(text):
        return screen(candidate(text, text, text, text), ScreenConfig(scorer="rules"))

    assert_bounded(screened, lambda size: unit * (size // len(unit)))
