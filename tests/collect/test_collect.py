"""A folder becomes candidates: every audio file once, with the text of its tags and sidecar, opened only when new."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest
from fakes import encode_audio, melody, write_audio

from aria_data.annotate import AnnotateConfig, annotate_many
from aria_data.collect import collect_folder, folder
from aria_data.errors import UsageError


def names(folder) -> list[str]:
    return [candidate.source_url for candidate in folder.candidates]


def test_candidates_come_in_the_order_of_their_paths_from_all_folders(tmp_path):
    for name in ("b.wav", "a/z.flac", "a/b/c.ogg", "C.WAV"):
        write_audio(tmp_path / name, melody(1))
    assert names(collect_folder(tmp_path)) == ["C.WAV", "a/b/c.ogg", "a/z.flac", "b.wav"]


def test_files_that_are_no_audio_by_name_are_counted_by_ending_and_sidecars_are_not(tmp_path):
    for name in ("a.txt", "b.TXT", "c.jpg", "d.info.json", "e.json", ".DS_Store", ".hidden/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    folder = collect_folder(tmp_path)
    assert (folder.candidates, folder.left_aside) == ([], {".txt": 2, ".jpg": 1, ".json": 1, "hidden": 1})


def test_a_sidecar_belongs_to_a_file_whether_accents_are_one_character_or_two(tmp_path):
    for forms, name in ((("NFC", "NFD"), "Dvořák"), (("NFD", "NFC"), "Für Elise")):
        write_audio(tmp_path / f"{unicodedata.normalize(forms[0], name)}.wav", melody(1))
        sidecar = tmp_path / f"{unicodedata.normalize(forms[1], name)}.info.json"
        sidecar.write_text(json.dumps({"title": f"{name} from the sidecar"}))
    titles = {candidate.title for candidate in collect_folder(tmp_path).candidates}
    assert titles == {"Dvořák from the sidecar", "Für Elise from the sidecar"}


def test_a_sidecar_speaks_before_the_tags(tmp_path):
    tags = {"title": "from the tag", "comment": "a comment", "artist": "Somebody"}
    encode_audio(tmp_path / "a.mp3", melody(2, 0, 48_000), "libmp3lame", tags=tags)
    encode_audio(tmp_path / "b.mp3", melody(2, 0, 48_000), "libmp3lame", tags=tags)
    fields = {
        "title": "from the sidecar",
        "uploader": "U",
        "license": "CC0",
        "webpage_url": "https://x.org/1",
        "duration": 5,
    }
    (tmp_path / "a.info.json").write_text(json.dumps(fields))
    with_sidecar, without = collect_folder(tmp_path).candidates
    assert (with_sidecar.title, with_sidecar.uploader, with_sidecar.licence) == ("from the sidecar", "U", "CC0")
    assert (with_sidecar.source_url, with_sidecar.announced_duration_s) == ("https://x.org/1", 5.0)
    assert with_sidecar.description == "a comment"
    assert (without.title, without.source_url, without.uploader) == ("from the tag", "b.mp3", "")
    assert without.announced_duration_s == pytest.approx(2.0, abs=0.05)
    assert json.loads(without.tags)["artist"] == "Somebody"


def test_a_file_without_any_text_is_named_after_itself(tmp_path):
    write_audio(tmp_path / "Satie - Gymnopédie.wav", melody(1))
    (candidate,) = collect_folder(tmp_path).candidates
    assert (candidate.title, candidate.source, candidate.discovered_via) == ("Satie - Gymnopédie", "local", "folder")


def test_the_id_of_a_candidate_depends_on_its_path_and_nothing_else(tmp_path, monkeypatch):
    write_audio(tmp_path / "a.wav", melody(1))
    (first,) = collect_folder(tmp_path).candidates
    write_audio(tmp_path / "a.wav", melody(2, 1))
    monkeypatch.chdir(tmp_path.parent)
    (second,) = collect_folder(type(tmp_path)(tmp_path.name) / ".." / tmp_path.name).candidates
    assert first.candidate_id == second.candidate_id
    assert first.num_bytes != second.num_bytes


def test_a_file_known_with_its_size_and_time_is_not_opened_again(tmp_path, monkeypatch):
    for name in ("a.wav", "b.wav", "c.wav"):
        write_audio(tmp_path / name, melody(1))
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    known = {candidate.candidate_id: candidate for candidate in collect_folder(tmp_path).candidates}
    os.utime(tmp_path / "b.wav", ns=(10**18, 10**18 + 1))
    (tmp_path / "c.info.json").write_text('{"title": "new"}')
    opened = []
    probe = folder.probe
    monkeypatch.setattr(folder, "probe", lambda path: opened.append(path.name) or probe(path))
    candidates = collect_folder(tmp_path, known).candidates
    assert opened == ["b.wav", "c.wav"]
    assert candidates[0] is known[candidates[0].candidate_id]
    assert candidates[2].title == "new"


def test_links_are_followed_and_a_loop_ends(tmp_path):
    elsewhere = write_audio(tmp_path / "elsewhere" / "x.wav", melody(1)).parent
    source = tmp_path / "in"
    source.mkdir()
    (source / "linked").symlink_to(elsewhere)
    (source / "file.wav").symlink_to(elsewhere / "x.wav")
    (source / "loop").symlink_to(source)
    (elsewhere / "back").symlink_to(source)
    assert names(collect_folder(source)) == ["file.wav", "linked/x.wav"]


def test_a_file_without_an_ending_is_tried(tmp_path):
    write_audio(tmp_path / "a.wav", melody(1)).rename(tmp_path / "track01")
    (candidate,) = collect_folder(tmp_path).candidates
    assert candidate.announced_duration_s == 1.0


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: is not a folder\. Name a folder with recordings\."):
        collect_folder(tmp_path / "nowhere")


def test_a_very_long_text_is_cut(tmp_path):
    write_audio(tmp_path / "a.wav", melody(1))
    (tmp_path / "a.info.json").write_text(json.dumps({"title": "t" * 50_000, "description": "d\n" * 50_000}))
    (candidate,) = collect_folder(tmp_path).candidates
    assert len(candidate.title) == 10_000
    assert len(candidate.description) <= 10_000
    assert "\n" in candidate.description


def test_folders_say_what_a_file_without_tags_is(tmp_path):
    write_audio(tmp_path / "Brahms" / "late" / "Six Pieces op. 118 no. 2.wav", melody(2))
    write_audio(tmp_path / "alone.wav", melody(2))
    descriptions = {one.title: one.description for one in collect_folder(tmp_path, {}).candidates}
    assert descriptions == {"Six Pieces op. 118 no. 2": "In the folder Brahms / late", "alone": ""}
    (brahms,) = [one for one in collect_folder(tmp_path, {}).candidates if one.description]
    ((_, annotation),) = annotate_many([brahms], AnnotateConfig(), None)
    assert annotation.composition_id == "brahms:op118-2"
