"""Two files of which a title tells nothing are not one work: no composition is made of words that name none."""

# ruff: noqa: E501 - a list
from __future__ import annotations

import pytest

from aria_data.annotate import annotate

NO_WORK = """Track 01|Track01|01 Track 1 (take 2)|AudioTrack 03|Side A|Side B, band 2|CD 2 - 05|Disc 1|Volume 2|Part 1|Untitled
Unknown|Piano solo|2019-05-03|May 3, 2019|New Recording 12|Voice memo 004|Rec 003|Movement 2|I. Allegro ma non troppo|Encore
Recital live in Paris|Best of|Concert, 2 June|track01.wav|My piano performance|Spur 1|Titel 7|Unbenannt|Ohne Titel
Neue Aufnahme 2|2. Satz|Zugabe|Seite 1|Klavierwerke|3. Mai 2019|Piste 03|Sans titre|Face B|Nouvel enregistrement 3
Œuvres pour piano|1er mouvement|3 février 2020|Traccia 9|Senza titolo|Lato A|Brano 2|3 maggio|Pista 4|Sin título 2|Grabación 1
Cara A|Faixa 3|Sem título|Spoor 4|Zonder titel|Spår 2|Utan titel|Ścieżka 2|Bez nazwy|Strona A|Nagranie 3|Stopa 5|Bez názvu
Дорожка 1|Трек 01|Без названия|Сторона 2|Запись 3|3 мая 2019|Часть 1|Фортепиано соло|Первый концерт|トラック01|無題|録音 2
ピアノソロ|第1楽章|2019年5月3日|音轨 3|未命名|钢琴独奏|第二乐章|트랙 1|무제|피아노 솔로|녹음 2""".replace(
    "\n", "|"
).split("|")


@pytest.mark.parametrize("words", NO_WORK)
def test_no_composition_is_made_of_words_that_name_no_work(words):
    assert annotate(f"Chopin - {words}").composition_id == ""


@pytest.mark.parametrize(
    ("title", "composition"),
    [
        ("Satie - Je te veux", "satie:je-te-veux"),
        ("Joplin - Maple Leaf Rag", "joplin:maple-leaf-rag"),
        ("Einaudi - Nuvole Bianche", "einaudi:nuvole-bianche"),
        ("Sibelius - The Spruce", "sibelius:the-spruce"),
        ("Yiruma - River Flows in You (Track 3)", "yiruma:river-flows-in-you"),
        ("Chopin - Track 01 - Raindrop", "chopin:op28-15"),
        ("Chopin - Recital in Paris: Ballade No. 1", "chopin:op23"),
    ],
)
def test_a_work_that_is_named_has_its_composition_beside_such_words(title, composition):
    assert annotate(title).composition_id == composition
