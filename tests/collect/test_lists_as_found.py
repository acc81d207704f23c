"""Lists of addresses and of titles as people and programs save them: each is read, or refused with its columns."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from aria_data.collect.sources.base import Lead
from aria_data.collect.sources.list import follow, rows_of
from aria_data.collect.tables import read_table
from aria_data.errors import UsageError
from aria_data.web import Web
from aria_data.web.addresses import as_address
from flows.cli.screen import screen_command
from flows.tools.title_lists import read_rows

AUDIO = "http://a.org/x.mp3"
VIDEO = "https://www.youtube.com/watch?v="
AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=2, num_segs=2
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"
-BfyqT6cXJs, 30.000, 40.000, "/m/05r5c"
"""


def places(path):
    from aria_data.collect.sources.base import Lead

    found = follow(Lead("list", str(path)), None, 0)
    return [one.target if isinstance(one, Lead) else one.location for one in found]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("-QxK8NvFbaU", VIDEO + "-QxK8NvFbaU"),
        ("youtu.be/abcdefghijk", "https://youtu.be/abcdefghijk"),
        ("www.youtube.com/watch?v=abcdefghijk", "https://www.youtube.com/watch?v=abcdefghijk"),
        ("//a.org/x.mp3", "https://a.org/x.mp3"),
        ("<https://a.org/x.mp3>", "https://a.org/x.mp3"),
        ("127.0.0.1:9/x.mp3", "https://127.0.0.1:9/x.mp3"),
        ("HTTP://a.org/x.mp3", "HTTP://a.org/x.mp3"),
        ("song.flac", ""),
        ("file:///etc/passwd", ""),
        ("javascript:alert(1)", ""),
        ("a nonsense", ""),
        ("", ""),
    ],
)
def test_an_address_without_its_scheme_and_a_bare_video_id_are_addresses(written, meant):
    assert as_address(written) == meant


def test_a_text_of_bare_ids_and_addresses_gives_each_of_them(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("# mine\n-QxK8NvFbaU\ndQw4w9WgXcQ\nyoutu.be/abcdefghijk\n" + AUDIO + "\n")
    assert places(path) == [VIDEO + "-QxK8NvFbaU", VIDEO + "dQw4w9WgXcQ", "https://youtu.be/abcdefghijk", AUDIO]


def test_a_list_of_audioset_is_read_by_the_names_in_its_comment(tmp_path):
    path = tmp_path / "audioset.csv"
    path.write_text(AUDIOSET)
    assert places(path) == [VIDEO + "--4gqARaEJE", VIDEO + "-BfyqT6cXJs"]
    first = next(rows_of(path))
    assert first == (4, {"url": "--4gqARaEJE", "start_seconds": "0.000", "end_seconds": "10.000",
                         "positive_labels": "/m/068hy,/m/07q6cd_"})  # fmt: skip


def test_a_table_without_a_line_of_names_is_read_by_its_first_address(tmp_path):
    path = tmp_path / "vggsound.csv"
    path.write_text('---g-f_I2yQ,1,"playing piano",test\n--0PQM4-hqg,30,x,train\n')
    assert places(path) == [VIDEO + "---g-f_I2yQ", VIDEO + "--0PQM4-hqg"]


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_every_charset_and_delimiter_gives_the_same_rows_to_both_readers(tmp_path, charset, delimiter, suffix):
    path = tmp_path / f"list.{suffix}"
    lines = (("URL", "Title "), (AUDIO, "Frédéric Chopin - Étude No. 3"), ("youtu.be/x", "Prélude"))
    path.write_bytes("\r\n".join(delimiter.join(line) for line in lines).encode(charset))
    assert [(row["url"], row["title"]) for _, row in rows_of(path)] == list(lines[1:])
    assert [(row["URL"], row["title"]) for row in read_rows(path)] == list(lines[1:])


def test_letters_of_other_charsets_are_told_by_their_looks(tmp_path):
    path = tmp_path / "list.csv"
    title = "Шопен - Ноктюрн до-диез минор, соч. 27, исполняет Святослав Рихтер (фортепиано)"
    path.write_bytes(f"url;title\n{AUDIO};{title}\n".encode("cp1251"))
    assert [row["title"] for row in read_rows(path)] == [title]


def test_a_fault_far_behind_the_head_of_a_file_is_seen(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"title\n" + b"Piano\n" * 400_000 + "Étude\n".encode("latin-1"))
    assert [row["title"] for row in read_rows(path)][-1] == "Étude"


@pytest.mark.parametrize("text", ["Artist;Song\nx;y\n", "artist_name,works\nx,y\n", "# by me\nArtist\tSong\nx\ty\n"])
def test_a_list_without_an_address_is_refused_with_the_columns_found_and_wanted(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"it has (Artist, Song|artist_name, works)\. Wanted: one of url, .*ytid"):
        list(rows_of(path))


@pytest.mark.parametrize(
    ("text", "found"),
    [(AUDIOSET, "YTID, start_seconds, end_seconds, positive_labels"), ("Artist;Song\nx;y\n", "Artist, Song")],
)
def test_a_list_without_a_title_is_refused_at_once_with_the_columns_found_and_needed(tmp_path, text, found):
    path = tmp_path / "list.csv"
    path.write_text(text)
    ended = CliRunner().invoke(screen_command, ["--input", str(path), "--output", str(tmp_path / "out.jsonl")])
    assert str(ended.exception) == f"{path}: has no 'title' among its columns ({found}). Needed: title."
    assert not (tmp_path / "out.jsonl").exists()


def test_names_in_any_case_are_scored_and_the_other_columns_are_kept(tmp_path):
    path, out = tmp_path / "cap.csv", tmp_path / "out.jsonl"
    path.write_text("Title,Uploader,My Note\nChopin Nocturne solo piano,x,y\n")
    ended = CliRunner().invoke(screen_command, ["--input", str(path), "--output", str(out)])
    assert ended.exit_code == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (row["title"], row["uploader"], row["My Note"]) == ("Chopin Nocturne solo piano", "x", "y")


def test_a_column_of_row_numbers_is_no_comment_and_excels_first_line_is_obeyed():
    known = {"title"}
    assert read_table(iter(["#,title\n", "1,x\n"]), ".csv", known).names == ("#", "title")
    table = read_table(iter(["sep=;\n", "title;a\n", "x;y,z\n"]), ".csv", known)
    assert (table.names, list(table.rows)) == (("title", "a"), [(3, ["x", "y,z"])])


@pytest.mark.parametrize(
    "line", ["http://[", "http://a.org/" + "x" * 3000, "http://a.org/\x1b[2J", "https://", "http://a b/"]
)
def test_a_line_that_is_no_usable_address_is_a_row_and_ends_nothing(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text(f"{line}\nhttps://a.org/b.mp3\n", encoding="utf-8")
    row, found = follow(Lead("list", str(path)), Web(), 100)
    assert row.location.startswith("row 1 of list.txt: ")
    assert found.location == "https://a.org/b.mp3"
