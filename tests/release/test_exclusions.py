"""Exclusion lists: made out of a benchmark, kept in a file, and what they keep out."""

from __future__ import annotations

import base64
import json
import os
import re
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

from aria_data.annotate import annotate
from aria_data.deduplicate import Notes
from aria_data.errors import ConfigInvalid, MidiUnreadable, UsageError
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.release import find_exclusion
from aria_data.release.exclusions import Exclusion, Performed, Titled, excluded_by, make_exclusion, notes_in, wholes_of
from flows.cli.exclusions import exclude

NOWHERE = Path("nowhere.mid")


def playing(seed: int, num_notes: int = 400) -> Notes:
    """Notes at random times in random places: no two seeds are one performance."""
    rng = np.random.default_rng(seed)
    return Notes.of(np.cumsum(rng.exponential(0.15, num_notes)), rng.integers(40, 90, num_notes))


def transcribed_again(notes: Notes, seed: int = 9) -> Notes:
    """The same performance from another transcriber: later, slower, a tenth of the notes lost, times not quite so."""
    rng = np.random.default_rng(seed)
    kept = rng.random(len(notes)) > 0.1
    onsets_s = notes.onset_ms[kept] / 1000 * 1.01 + 5 + rng.normal(0, 0.01, kept.sum())
    return Notes.of(onsets_s, notes.pitch[kept])


def write_midi(path: Path, notes: Notes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    played = [
        Note(at / 1000, at / 1000 + 0.1, int(pitch), 64) for at, pitch in zip(notes.onset_ms, notes.pitch, strict=True)
    ]
    path.write_bytes(midi_bytes(Performance(sorted(played))))
    return path


def naming(*composition_ids: str, name: str = "asap", notes: dict[str, Notes] | None = None) -> Exclusion:
    performed = tuple(Performed(each, found) for each, found in (notes or {}).items())
    return Exclusion(name, "", "", len(composition_ids), 0, tuple(sorted(composition_ids)), performed)


def reason_of(composition_id: str, *exclusions: Exclusion) -> str:
    return excluded_by(exclusions, [("a_0", composition_id, NOWHERE)], by="composition").get("a_0", "")


# ---------------------------------------------------------------- compositions


@pytest.mark.parametrize(
    ("composition_id", "wholes"),
    [
        ("chopin:op28-4", ["chopin:op28"]),
        ("beethoven:op27-2:3", ["beethoven:op27-2", "beethoven:op27"]),
        ("bach:bwv846:fugue", ["bach:bwv846"]),
        ("haydn:hobxvi:50:1", ["haydn:hobxvi:50"]),
        ("haydn:hobxvi:50", []),  # not all of hob. XVI
        ("debussy:suite-bergamasque", []),
        ("chopin:op28", []),
        ("", []),
    ],
)
def test_a_piece_and_a_movement_are_part_of_sets_and_works(composition_id, wholes):
    assert list(wholes_of(composition_id)) == wholes


def test_the_same_composition_is_named_and_another_is_not():
    assert reason_of("chopin:op28-4", naming("chopin:op28-4")) == "asap: composition chopin:op28-4"
    assert reason_of("chopin:op28-40", naming("chopin:op28-4")) == ""
    assert reason_of("chopin:op28-5", naming("chopin:op28-4")) == ""
    assert reason_of("", naming("chopin:op28-4")) == ""


def test_a_part_of_a_listed_whole_and_the_whole_of_a_listed_part_are_named():
    assert reason_of("chopin:op28-4", naming("chopin:op28")) == "asap: composition chopin:op28"
    assert reason_of("beethoven:op53", naming("beethoven:op53:1")) == "asap: composition beethoven:op53:1"
    assert reason_of("haydn:hobxvi:49:1", naming("haydn:hobxvi:50:1")) == ""


def test_a_book_of_a_catalogue_with_a_listed_number_in_it_is_named():
    listed = naming("bach:bwv847:fugue")
    assert reason_of("bach:bwv846-869", listed) == "asap: composition bach:bwv847:fugue"
    assert reason_of("bach:bwv870-893", listed) == reason_of("handel:bwv846-869", listed) == ""


def test_of_several_lists_the_first_is_named():
    lists = naming("chopin:op10-4", name="maestro"), naming("chopin:op10-4", name="asap")
    assert reason_of("chopin:op10-4", *lists) == "maestro: composition chopin:op10-4"


# ---------------------------------------------------------------- notes


def test_a_listed_performance_is_recognised_under_a_wrong_title_and_others_are_not():
    benchmark = naming(notes={"Bach/one.mid": playing(1), "Bach/two.mid": playing(2)})
    notes_of = {"a_0": transcribed_again(playing(2)), "b_0": playing(3)}
    segments = [(each, "chopin:op9-2", Path(each)) for each in notes_of]
    found = excluded_by([benchmark], segments, by="notes", read=lambda path: notes_of[str(path)])
    assert found == {"a_0": "asap: notes of Bach/two.mid"}


def test_both_ways_together_name_what_either_names():
    benchmark = naming("chopin:op9-2", notes={"x.mid": playing(1)})
    segments = [("a_0", "chopin:op9-2", Path("a")), ("b_0", "", Path("b")), ("c_0", "", Path("c"))]
    notes_of = {"b": transcribed_again(playing(1)), "c": playing(2)}  # a is not read: its title suffices
    found = excluded_by([benchmark], segments, read=lambda path: notes_of[str(path)])
    assert found == {"a_0": "asap: composition chopin:op9-2", "b_0": "asap: notes of x.mid"}


def test_segments_are_found_in_every_batch(monkeypatch):
    monkeypatch.setattr("aria_data.release.exclusions.BATCH", 2)
    notes_of = {f"s{number}_0": playing(number) for number in range(5)}
    benchmark = naming(notes={"first": transcribed_again(playing(0)), "last": transcribed_again(playing(4))})
    segments = [(each, "", Path(each)) for each in notes_of]
    found = excluded_by([benchmark], segments, read=lambda path: notes_of[str(path)])
    assert found == {"s0_0": "asap: notes of first", "s4_0": "asap: notes of last"}


def test_a_file_that_cannot_be_had_is_not_named():
    benchmark = naming(notes={"x": playing(1)})
    assert excluded_by([benchmark], [("a_0", "", NOWHERE)], read=lambda path: None) == {}


def test_lists_without_notes_read_no_file():
    assert excluded_by([naming("chopin:op9-2")], [("a_0", "", NOWHERE)]) == {}


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigInvalid, match="composition, notes, both"):
        excluded_by([], [], by="title")


# ---------------------------------------------------------------- the file


def test_a_list_comes_back_from_its_file_as_it_was(tmp_path):
    path = write_midi(tmp_path / "one.mid", playing(1))
    titled = [
        Titled("one.mid", "Nocturne, op. 9 no. 2", "Chopin", path),
        Titled("two", "Improvisation", "", None),
    ]
    made = make_exclusion(
        "mine", titled, lambda one: annotate(f"{one.composer}: {one.title}").composition_id, read=notes_in
    )
    made.save(tmp_path / "mine.json")
    back = Exclusion.load(tmp_path / "mine.json")
    assert (back.num_titles, back.num_unnamed, len(back.performances)) == (2, 1, 1)
    assert back.composition_ids == made.composition_ids == ("chopin:op9-2",)
    np.testing.assert_array_equal(back.performances[0].notes.onset_ms, notes_in(path).onset_ms)
    np.testing.assert_array_equal(back.performances[0].notes.pitch, notes_in(path).pitch)


@pytest.mark.parametrize("name", ["", "A B", "../up", "x" * 100, "-rf"])
def test_a_list_has_a_plain_name(name):
    with pytest.raises(ConfigInvalid, match="no name for a list"):
        make_exclusion(name, [], lambda one: "")


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


GOOD = {
    "format": "aria-data exclusion list 1",
    "name": "x",
    "source": "",
    "made_from": "",
    "num_titles": 1,
    "num_unnamed": 0,
    "composition_ids": ["chopin:op28"],
    "performances": [],
}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"name": "../../etc\n"},
        {"name": 3},
        {"source": None},
        {"num_titles": -1},
        {"num_titles": True},
        {"composition_ids": {"a": 1}},
        {"composition_ids": [1]},
        {"composition_ids": ["two\nlines"]},
        {"performances": "x"},
        {"performances": [3]},
        {"performances": [{"name": "a", "num_notes": 1, "notes": "no base64!"}]},
        {"performances": [{"name": "a", "num_notes": 1, "notes": base64.b64encode(b"no zlib").decode()}]},
        {"performances": [{"name": "a", "num_notes": 2, "notes": packed(bytes(5))}]},
        {"performances": [{"name": "a", "num_notes": 1, "notes": packed(bytes(100_000_000))}]},
        {"performances": [{"name": "a", "num_notes": 1, "notes": packed(b"\0\0\0\0\xff")}]},
        {"performances": [{"name": "a", "num_notes": 2, "notes": packed(b"\xff" * 8 + b"\0\0")}]},
        {"performances": [{"name": "a", "num_notes": 10**9, "notes": packed(b"")}]},
    ],
)
def test_a_hostile_file_is_one_clear_line(tmp_path, change):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(GOOD))
    assert Exclusion.load(path).composition_ids == ("chopin:op28",)
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(ConfigInvalid) as caught:
        Exclusion.load(path)
    assert str(caught.value).startswith(f"{path}: is no exclusion list (")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"a": 1' + b"0" * 5000 + b"}"])
def test_a_file_of_something_else_is_one_clear_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid, match="is no exclusion list"):
        Exclusion.load(path)


def test_a_folder_and_a_missing_file_are_said(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            Exclusion.load(path)


def test_a_device_and_a_pipe_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/zero", str(tmp_path / "pipe")):
        with pytest.raises(ConfigInvalid, match=r"cannot be read \(it is no regular file\)"):
            find_exclusion(name)


def test_a_name_that_no_file_can_have_is_one_clear_line():
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(ConfigInvalid, match="is no file and no known exclusion list") as caught:
            find_exclusion(name)
        assert str(caught.value).isprintable()


# ---------------------------------------------------------------- lists that come along


@pytest.mark.parametrize(
    ("file", "name", "title", "composer"),
    [
        ("asap-compositions", "asap", "Sonata No. 13 in E-flat, Op. 27 No. 1: IV. Allegro vivace", "Beethoven"),
        ("maestro-compositions", "maestro", "Prelude in E minor, Op. 28 No. 4", "Chopin"),
        ("maestro-test-compositions", "maestro-test", "Sonata No. 9, Op. 68 'Black Mass'", "Scriabin"),
    ],
)
def test_lists_that_come_along_name_what_is_in_the_benchmark(file, name, title, composer):
    composition_id = annotate(f"{composer}: {title}").composition_id
    assert reason_of(composition_id, find_exclusion(file)).startswith(f"{name}: composition ")
    assert not find_exclusion(file).performances  # their licences forbid it


def test_the_test_part_of_maestro_is_part_of_maestro():
    whole, part = find_exclusion("maestro-compositions"), find_exclusion("maestro-test-compositions")
    assert set(part.composition_ids) < set(whole.composition_ids)


@pytest.mark.parametrize("file", ["asap-compositions", "maestro-compositions", "maestro-test-compositions"])
def test_the_page_about_the_lists_has_their_counts(file):
    page = (ROOT / "manifests" / "exclusions" / "README.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| `{file}`"))
    found = find_exclusion(file)
    in_words = [each for each in found.composition_ids if not re.match(r"[^:]*:(?:hob|[a-z]*[0-9])", each)]
    counts = [found.num_titles, len(found.composition_ids), len(in_words)]
    assert [int(each) for each in line.split("|")[3:6]] == counts


def test_a_list_is_found_by_its_path_and_an_unknown_name_gives_the_known(tmp_path):
    naming("chopin:op28").save(tmp_path / "mine.json")
    assert find_exclusion(str(tmp_path / "mine.json")).name == "asap"
    with pytest.raises(ConfigInvalid, match="asap-compositions, maestro-compositions"):
        find_exclusion("maestr")


# ---------------------------------------------------------------- the command


def run(*arguments: object) -> str:
    result = CliRunner().invoke(exclude, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_table_like_maestros_gives_titles_files_and_splits(tmp_path):
    for number, place in enumerate(("2018/a.midi", "2018/b.midi")):
        write_midi(tmp_path / place, playing(number))
    table = tmp_path / "maestro.csv"
    table.write_text(
        "canonical_composer,canonical_title,split,year,midi_filename\n"
        'Frédéric Chopin,"Ballade No. 1 in G Minor, Op. 23",train,2018,2018/a.midi\n'
        'Alexander Scriabin,"Sonata No. 9, Op. 68, ""Black Mass""",test,2018,2018/b.midi\n'
    )
    run(tmp_path, "--name", "maestro", "--titles", table, "--split", "test", "--out", tmp_path / "out.json")
    found = Exclusion.load(tmp_path / "out.json")
    assert found.composition_ids == ("scriabin:op68",)
    assert [each.name for each in found.performances] == ["2018/b.midi"]
    assert found.made_from.startswith("the titles in maestro.csv, split test")


def test_a_table_finds_files_whether_accents_are_one_character_or_two(tmp_path):
    write_midi(tmp_path / unicodedata.normalize("NFD", "Dvořák/Für Elise.mid"), playing(1))
    table = tmp_path / "table.csv"
    table.write_text(
        f"title,file\nFür Elise,{unicodedata.normalize('NFC', 'Dvořák/Für Elise.mid')}\n", encoding="utf-8"
    )
    run(tmp_path, "--name", "mine", "--titles", table, "--out", tmp_path / "out.json")
    assert len(Exclusion.load(tmp_path / "out.json").performances) == 1


@pytest.mark.parametrize(
    ("composer", "title", "composition_id"),
    [
        ("Bach", "Fugue_bwv_846", "bach:bwv846:fugue"),
        ("Beethoven", "Piano_Sonatas_21-1_no_repeat", "beethoven:op53:1"),
        ("Haydn", "Keyboard_Sonatas_31-1", "haydn:hobxvi:31:1"),
        ("Schubert", "Impromptu_op.90_D.899_3", "schubert:d899-3"),
        ("Schubert", "Piano_Sonatas_894-2_no_repeat", "schubert:d894:2"),
        ("Chopin", "Etudes_op_10_12", "chopin:op10-12"),
        ("Chopin", "Sonata_2_3rd", "chopin:op35:3"),
        ("Liszt", "Transcendental_Etudes_4", "liszt:s139-4"),
    ],
)
def test_titles_as_asap_writes_them_are_spelled_out(tmp_path, composer, title, composition_id):
    (tmp_path / "metadata.csv").write_text(f"composer,title,folder\n{composer},{title},x\n")
    out = tmp_path / "asap.json"
    run(tmp_path, "--name", "asap", "--titles", tmp_path / "metadata.csv", "--no-notes", "--out", out)
    assert Exclusion.load(out).composition_ids == (composition_id,)


def test_without_a_table_the_folders_are_the_title(tmp_path):
    write_midi(tmp_path / "Haydn" / "Keyboard_Sonatas" / "46-1" / "Bach01.mid", playing(1))  # Bach plays
    write_midi(tmp_path / "Chopin" / "op28 no 4.MID", playing(2))
    run(tmp_path, "--name", "mine", "--out", tmp_path / "mine.json")
    assert Exclusion.load(tmp_path / "mine.json").composition_ids == ("chopin:op28-4", "haydn:hobxvi:46:1")


def test_the_folder_of_one_composer_names_the_composer(tmp_path):
    write_midi(tmp_path / "Bach" / "Fugue" / "bwv_846" / "Shi05M.mid", playing(1))
    write_midi(tmp_path / "Bach" / "Prelude bwv 847.mid", playing(2))
    run(tmp_path / "Bach", "--name", "bach", "--no-notes", "--out", tmp_path / "bach.json")
    assert Exclusion.load(tmp_path / "bach.json").composition_ids == ("bach:bwv846:fugue", "bach:bwv847:prelude")


def test_what_cannot_be_read_is_named_and_its_title_still_counts(tmp_path):
    (tmp_path / "bad.mid").write_bytes(b"no MIDI")
    table = tmp_path / "t.csv"
    table.write_text(
        "file,composer,title\nbad.mid,Chopin,Etude op. 10 no. 4\n../../up.mid,Chopin,Etude op. 10 no. 5\n"
        "gone.mid,,Untitled\n"
    )
    arguments = [tmp_path, "--name", "mine", "--titles", table, "--out", tmp_path / "mine.json", "--json"]
    result = CliRunner().invoke(exclude, [str(each) for each in arguments])
    assert result.exit_code == 1
    facts = json.loads(next(line for line in result.stdout.splitlines() if line.startswith("{")))
    assert (facts["num_compositions"], facts["num_unnamed"], facts["num_performances"]) == (2, 1, 0)
    assert facts["num_failed"] == 2  # the file outside is not looked at
    assert "bad.mid: is not a valid MIDI file" in result.stderr
    with pytest.raises(MidiUnreadable):
        notes_in(tmp_path / "gone.mid")


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        ("file,name\na,b\n", [], "row 1 has no column canonical_title or title"),
        ("file,title\na,b\n", ["--split", "test"], "row 1 has no column split"),
        ("file,title,split\na,b,train\n", ["--split", "test"], "has no row of the split 'test'"),
        ("", [], "holds no row"),
    ],
)
def test_a_table_that_does_not_say_enough_is_one_clear_line(tmp_path, text, arguments, says):
    table = tmp_path / "t.csv"
    table.write_text(text)
    call = [tmp_path, "--name", "x", "--titles", table, "--no-notes", "--out", tmp_path / "x.json", *arguments]
    with pytest.raises(UsageError, match=says):
        CliRunner().invoke(exclude, [str(each) for each in call], catch_exceptions=False)
    assert not (tmp_path / "x.json").exists()


def test_a_list_is_replaced_only_when_told_so(tmp_path):
    write_midi(tmp_path / "Chopin" / "op28 no 4.mid", playing(1))
    out = tmp_path / "x.json"
    out.write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        run(tmp_path, "--name", "x", "--out", out)
    assert out.read_text() == "precious"
    run(tmp_path, "--name", "x", "--out", out, "--overwrite")
    assert Exclusion.load(out).composition_ids == ("chopin:op28-4",)


def test_a_folder_without_midi_and_no_folder_are_said(tmp_path):
    for folder, says in ((tmp_path, "holds no .mid"), (tmp_path / "no", "is not a folder")):
        with pytest.raises(UsageError, match=says):
            run(folder, "--name", "x", "--out", tmp_path / "x.json")
