"""The learned scorer: probabilities, words in works' names, talk, damaged text, and its weights."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest

from aria_data.records import Candidate, Screening
from aria_data.screen import ScreenConfig, probability_of_solo_piano, score_titles, screen
from aria_data.screen.learned import LIMITS, score_of
from aria_data.screen.screening import verdict
from aria_data.screen.title_model import title_model
from aria_data.screen.word_lists import _find_all, word_lists, words_in


def scores(*titles: str) -> list[int]:
    return [each.relevance_score for each in score_titles(titles)]


def test_the_learned_scorer_is_the_default_and_says_its_probability():
    found = screen(Candidate("1", "list", "", "", "Chopin: Nocturne in E flat, Op. 9 No. 2"), ScreenConfig())
    assert found.scorer == "learned"
    assert found.reason.startswith("solo piano with probability 0.")


def test_a_score_is_a_range_of_the_probability():
    assert [score_of(limit) for limit in LIMITS] == [2, 3, 4, 5]
    assert (score_of(0.0), score_of(1.0)) == (1, 5)
    title = Candidate("1", "list", "", "", "Schumann: Waldszenen")
    assert screen(title, ScreenConfig()).relevance_score == score_of(probability_of_solo_piano(title))


@pytest.mark.parametrize(
    "title",
    [
        "Gottschalk: Le Banjo", "Rameau - Tambourin", "Bartók: Bagpipers (piano)", "Grieg: Cow call (piano)",
        "Schumann: Jagdlied, Waldszenen Op. 82", "Mendelssohn: Spinning Song Op. 67 No. 4",
        "Liszt: Paraphrase on the wedding chorus from Lohengrin", "Wagner-Liszt: Spinning Chorus",
        "Schubert/Liszt: Ave Maria", "Alkan: Symphony for Solo Piano", "Chopin Etude Op. 25 No. 1 'Harp'",
    ],
)  # fmt: skip
def test_a_word_inside_the_name_of_a_piano_work_is_not_held_against_it(title):
    assert scores(title)[0] >= 4


@pytest.mark.parametrize(
    "title",
    [
        "Why Liszt's Sonata is so difficult", "7 mistakes in Debussy's Clair de lune", "Ranking Beethoven's sonatas",
        "Chopin Waltz in A minor on banjo", "Schumann Träumerei for four cellos", "Satie Gymnopédie on harp",
        "Tchaikovsky: Violin Concerto in D", "Rachmaninoff prelude explained", "Beethoven Für Elise metal version",
    ],
)  # fmt: skip
def test_talk_about_a_piece_and_the_piece_on_something_else_are_not_kept(title):
    assert scores(title)[0] <= 2


def test_damaged_text_is_read_as_it_was_meant():
    whole, entity, mojibake, mixed = scores(
        "Dvořák: Humoresque for piano", "Dvo&#345;&aacute;k: Humoresque for piano",
        "DvoÅ™Ã¡k: Humoresque for piano", "Dvořák: Humoresquе for piano",
    )  # fmt: skip
    assert whole == entity == mojibake == mixed >= 4


@pytest.mark.parametrize("title", ["שופן - ואלס, פסנתר סולו", "بيتهوفن - سوناتا ضوء القمر بيانو"])
def test_titles_in_hebrew_and_arabic_are_read(title):
    assert scores(title)[0] >= 4


def test_no_file_of_ones_own_folder_is_refused_for_a_word_but_a_higher_minimum_is_obeyed():
    refused = Screening("1", 1, "learned", "cello")
    assert not verdict(refused, ScreenConfig()).is_kept
    assert verdict(refused, ScreenConfig(), is_own_file=True).is_kept
    assert not verdict(refused, ScreenConfig(min_relevance_score=4), is_own_file=True).is_kept


def test_the_weights_are_small_and_those_of_the_card():
    folder = resources.files("aria_data.screen")
    packed = folder.joinpath("title_model.npz").read_bytes()
    assert len(packed) < 5_000_000
    assert hashlib.sha256(packed).hexdigest() == title_model().sha256
    assert title_model().sha256 in folder.joinpath("title_model.md").read_text(encoding="utf-8")


def test_a_phrase_with_a_start_mark_counts_only_at_the_beginning():
    assert words_in("Why Chopin?", 100)["not_music"] == ["why"]
    assert words_in("Tell me why", 100)["not_music"] == []


def test_one_pass_over_a_title_finds_what_each_list_finds():
    words = ["^", *"how to play a violin and piano duo for solo piano in four hands".split()]
    found = _find_all(words)
    assert {name: list(dict.fromkeys(phrases)) for name, phrases in found.items()} == {
        name: each.find("", words) for name, each in word_lists().items()
    }
    assert found["not_music"]
    assert found["ensemble"]
    assert found["solo"]
