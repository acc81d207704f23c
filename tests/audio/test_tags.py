"""Tags as their writer meant them, and never worse than a good file name."""

from __future__ import annotations

import pytest
from audio_files import id3v1, id3v2
from fakes import encode_audio, melody

from aria_data.audio import probe
from aria_data.collect import collect_folder

TITLES = {
    "cp1251": ("Ноктюрн ми-бемоль мажор, соч. 9 № 2", "Фредерик Шопен"),
    "koi8_r": ("Лунная соната", "Бетховен"),
    "gb18030": ("月光奏鸣曲", "贝多芬"),
    "gbk": ("夜曲 肖邦", "钢琴"),
    "cp932": ("月光ソナタ", "ベートーヴェン"),
    "big5": ("月光奏鳴曲", "貝多芬"),
    "cp949": ("월광 소나타", "베토벤"),
    "euc_jp": ("月光ソナタ", "ショパン"),
    "cp1253": ("Σονάτα του σεληνόφωτος", "Μπετόβεν"),
    "latin-1": ("Prélude, op. 28 nº 4", "Frédéric Chopin"),
    "cp1252": ("Gymnopédie – “Lent”", "Erik Satie"),
    "cp1250": ("Humoreska č. 7", "Dvořák"),
    "utf-8": ("Für Elise", "Людвиг ван Бетховен"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "a.mp3"
    options = {"id3v2_version": "0", "write_id3v1": "0"}
    return encode_audio(path, melody(1, 0, 48_000), "libmp3lame", options=options).read_bytes()


@pytest.mark.parametrize("encoding", TITLES)
@pytest.mark.parametrize("version", ["ID3v1", "ID3v2"])
def test_a_tag_in_any_encoding_is_read_as_it_was_meant(tmp_path, sound, encoding, version):
    title, artist = (text.encode(encoding) for text in TITLES[encoding])
    tagged = sound + id3v1(title, artist) if version == "ID3v1" else id3v2({"TIT2": title, "TPE1": artist}) + sound
    (tmp_path / "a.mp3").write_bytes(tagged)
    tags = probe(tmp_path / "a.mp3").tags
    wanted = [title, artist] if version == "ID3v2" else [title[:30], artist[:30]]
    assert [tags["title"], tags["artist"]] == [text.decode(encoding, "ignore").strip() for text in wanted]


@pytest.mark.parametrize("text", ["Für Elise", "Träumerei", "Études", "Ноктюрн", "夜曲", "Dvořák", "What? Why?!"])
def test_a_tag_that_is_right_stays_as_it_is(tmp_path, text):
    encode_audio(tmp_path / "a.m4a", melody(1, 0, 48_000), "aac", tags={"title": text})
    assert probe(tmp_path / "a.m4a").tags["title"] == text


@pytest.mark.parametrize(
    "title",
    [b"???? ??????", b"\xff\xfe\x81\x8d", b"\x81\x90\x9d\xff x", "Ноктюрн".encode("cp1251")[:3] + b"\x98\x81\x01"],
)
def test_a_tag_that_stays_broken_never_beats_a_good_file_name(tmp_path, sound, title):
    (tmp_path / "Chopin - Nocturne.mp3").write_bytes(id3v2({"TIT2": title, "TPE1": b"Arrau"}) + sound)
    (candidate,) = collect_folder(tmp_path).candidates
    assert candidate.title == "Chopin - Nocturne"
    assert '"artist": "Arrau"' in candidate.tags
    assert '"title"' not in candidate.tags
