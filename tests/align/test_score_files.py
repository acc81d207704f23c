"""Score files: what is read of MusicXML, MIDI, Humdrum and MEI, and what a hostile or odd one becomes."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import mido
import numpy as np
import pyarrow as pa
import pytest
from scores_made import made_score, musicxml, perform

pytest.importorskip("parangonar", reason="scores are read by the extra `align`, which is not installed")

from aria_data.align import ScoreUnreadable, read_score, read_scores
from aria_data.align.bounded_reading import BoundedReader
from aria_data.align.scores import Score
from aria_data.errors import UsageError
from aria_data.midi import Performance, midi_bytes

KERN = """**kern\t**kern
*M3/4\t*M3/4
=1\t=1
4C\t4cc
4E\t4ee
4G\t4gg
=2\t=2
4D\t4dd
4F\t4ff
4A\t4aa
==\t==
*-\t*-
"""
MEI = """<?xml version="1.0" encoding="UTF-8"?>
<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score>
<scoreDef meter.count="3" meter.unit="4"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>
</scoreDef><section>
<measure n="1"><staff n="1"><layer n="1"><note pname="c" oct="5" dur="4"/><note pname="e" oct="5" dur="4"/>
<note pname="g" oct="5" dur="4"/></layer></staff></measure>
<measure n="2"><staff n="1"><layer n="1"><note pname="d" oct="5" dur="4"/><note pname="f" oct="5" dur="4"/>
<note pname="a" oct="5" dur="4"/></layer></staff></measure>
</section></score></mdiv></body></music></mei>
"""


def written(tmp_path, content, name="score.musicxml"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def midi_score(numerator=3, denominator=4, num_bars=4, upbeat=0) -> bytes:
    """Quarters on a grid, each with an octave below."""
    file, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    file.tracks.append(track)
    if upbeat:
        track.append(mido.MetaMessage("time_signature", numerator=upbeat, denominator=8, time=0))
    track.append(mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator, time=240 * upbeat))
    for step in range(num_bars * numerator * 4 // denominator):
        pitch = 60 + step % 12
        track += [mido.Message("note_on", note=each, velocity=64) for each in (pitch, pitch - 12)]
        track += [
            mido.Message("note_off", note=each, time=480 * (number == 0))
            for number, each in enumerate((pitch, pitch - 12))
        ]
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def packed(content: str, container: bool = True) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        if container:
            root = '<container><rootfiles><rootfile full-path="music/a.xml"/></rootfiles></container>'
            file.writestr("META-INF/container.xml", root)
        file.writestr("music/a.xml", content)
    return out.getvalue()


def test_musicxml_gives_notes_bars_beats_and_signs(tmp_path):
    made = made_score(1, 12, repeat=(0, 7))
    score = read_score(written(tmp_path, musicxml(made)), "x.musicxml")
    assert len(score.onset) == 12 * 9
    assert score.bar_number.tolist() == list(range(1, 13))
    assert score.beat.tolist() == list(range(36))
    assert np.flatnonzero(score.is_downbeat).tolist() == list(range(0, 36, 3))
    assert score.signature[0] == "3/4,0"
    assert score.leave_at.tolist() == [24.0]
    assert 0.0 in score.enter_at.tolist()
    assert score.composition_id == "mozart:k545"


@pytest.mark.parametrize("container", [True, False])
def test_a_packed_score_is_the_same_score(tmp_path, container):
    text = musicxml(made_score(1, 12))
    plain = read_score(written(tmp_path, text), "x")
    score = read_score(written(tmp_path, packed(text, container), "x.mxl"), "x")
    assert score.onset.tolist() == plain.onset.tolist()
    assert score.pitch.tolist() == plain.pitch.tolist()


@pytest.mark.parametrize(("content", "name"), [(KERN, "a.krn"), (MEI, "a.mei"), (midi_score(num_bars=2), "a.mid")])
def test_humdrum_mei_and_midi_have_bars_and_beats(tmp_path, content, name):
    score = read_score(written(tmp_path, content, name), name)
    assert score.beat.tolist() == [0, 1, 2, 3, 4, 5]
    assert score.is_downbeat.tolist() == [True, False, False] * 2
    assert len(score.bar_number) == 2


@pytest.mark.parametrize(("metre", "beats_a_bar"), [((6, 8), 2), ((9, 8), 3), ((12, 8), 4), ((3, 8), 3), ((2, 2), 2)])
def test_beats_are_counted_as_asap_counts_them(tmp_path, metre, beats_a_bar):
    made = made_score(1, 4, beats=metre[0], denominator=metre[1])
    score = read_score(written(tmp_path, musicxml(made)), "x")
    assert len(score.beat) == 4 * beats_a_bar
    assert int(score.is_downbeat.sum()) == 4


def test_an_upbeat_is_no_bar_with_a_downbeat(tmp_path):
    xml = read_score(written(tmp_path, musicxml(made_score(1, 4, upbeat=True))), "x")
    midi = read_score(written(tmp_path, midi_score(upbeat=1), "a.mid"), "a.mid")
    for score in (xml, midi):
        assert score.beat[score.is_downbeat][0] == 0.5
        assert int(score.is_downbeat.sum()) == 4


def test_the_composition_is_read_from_titles_and_names(tmp_path):
    made = made_score(1, 4, title="", composer="")
    score = read_score(written(tmp_path, musicxml(made)), "Bach/Prelude/bwv_846/xml_score.musicxml")
    assert score.composition_id == "bach:bwv846:prelude"
    collection = made_score(1, 4, title="Das Wohltemperierte Klavier I", composer="J. S. Bach")
    path = written(tmp_path, musicxml(collection))
    assert read_score(path, "Bach/Fugue/bwv_847/xml_score.musicxml").composition_id == "bach:bwv847:fugue"


BROKEN = {
    "empty.musicxml": b"",
    "cut.musicxml": musicxml(made_score(1, 8)).encode()[:2000],
    "page.xml": b"<html><body>404</body></html>",
    "entity.musicxml": b'<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><score-partwise>&a;</score-partwise>',
    "no_notes.musicxml": b'<score-partwise><part-list/><part id="P1"/></score-partwise>',
    "timewise.musicxml": b"<score-timewise/>",
    "text.krn": b"this is no Humdrum\n\x00\xff",
    "text.mei": b"<mei/>",
    "text.mid": b"MThd nothing of the kind",
    "packed.mxl": b"PK\x03\x04 and no more",
    "endless.musicxml": musicxml(made_score(1, 4)).replace("<duration>2<", "<duration>999999999<", 1).encode(),
    "other.mxl": packed("<container/>").replace(b"a.xml", b"a.txt"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_score_is_one_line_that_names_it(tmp_path, name):
    path = written(tmp_path, BROKEN[name], name)
    with pytest.raises(ScoreUnreadable) as caught:
        read_score(path, name)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 400


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("aria_data.align.score_files.MAX_FILE_BYTES", 100_000)
    path = written(tmp_path, packed(" " * 10_000_000), "bomb.mxl")
    with pytest.raises(ScoreUnreadable, match="unpacks to more"):
        read_score(path, "bomb.mxl")


def test_a_performance_is_no_score(tmp_path):
    played = perform(made_score(1, 24))
    path = written(tmp_path, midi_bytes(Performance(played.notes)), "played.mid")
    with pytest.raises(ScoreUnreadable, match="it is a performance, not a score"):
        read_score(path, "played.mid")


def test_a_midi_file_that_lasts_for_days_is_no_score(tmp_path):
    file = mido.MidiFile(ticks_per_beat=480)
    notes = [mido.Message("note_on", note=60, velocity=64, time=100_000_000), mido.Message("note_off", note=60, time=1)]
    file.tracks.append(mido.MidiTrack(notes))
    out = io.BytesIO()
    file.save(file=out)
    with pytest.raises(ScoreUnreadable, match="quarter notes"):
        read_score(written(tmp_path, out.getvalue(), "long.mid"), "long.mid")


def test_a_folder_is_read_whole_and_a_broken_score_stops_nothing(tmp_path):
    for number in range(3):
        written(tmp_path, musicxml(made_score(number, 4)), f"{number}.musicxml")
    written(tmp_path, midi_score(), "0.mid")  # beside 0.musicxml
    written(tmp_path, b"", "9.mei")
    found = {path.name: score for path, score in read_scores(tmp_path)}
    assert sorted(found) == ["0.musicxml", "1.musicxml", "2.musicxml", "9.mei"]
    assert isinstance(found["9.mei"], ScoreUnreadable)
    with pytest.raises(UsageError, match="holds no scores"):
        list(read_scores(tmp_path / "none" if (tmp_path / "none").mkdir() else tmp_path / "none"))


def test_what_was_read_is_kept_and_a_damaged_copy_is_read_again(tmp_path, monkeypatch):
    folder, cache = tmp_path / "scores", tmp_path / "cache"
    folder.mkdir()
    written(folder, musicxml(made_score(1, 4)), "a.musicxml")
    first = next(read_scores(folder, cache))[1]
    with monkeypatch.context() as patch:
        patch.setattr("aria_data.align.score_cache.READER", None)  # it would be an error to read it again
        second = next(read_scores(folder, cache))[1]
    for name in ("onset", "pitch", "beat", "bar_start", "leave_at"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()
    assert (first.note_ids, first.composition_id) == (second.note_ids, second.composition_id)
    next(cache.rglob("*.npz")).write_bytes(b"damaged")
    assert isinstance(next(read_scores(folder, cache))[1], Score)


def test_pdmx_says_which_files_are_scores_and_what_they_are(tmp_path):
    (tmp_path / "mxl" / "0").mkdir(parents=True)
    (tmp_path / "mid" / "0").mkdir(parents=True)
    written(tmp_path, packed(musicxml(made_score(1, 4, title="x", composer=""))), "mxl/0/Qm1.mxl")
    written(tmp_path, midi_score(), "mid/0/Qm1.mid")
    table = 'path,mxl,title,composer_name\n./data/0/Qm1.json,./mxl/0/Qm1.mxl,"Nocturne, Op. 9 No. 2",Frédéric Chopin\n'
    (tmp_path / "PDMX.csv").write_text(table)
    found = list(read_scores(tmp_path))
    assert [path.name for path, _ in found] == ["Qm1.mxl"]
    assert found[0][1].composition_id == "chopin:op9-2"


REST = "<forward><duration{}</duration></forward>"
ENTITIES = '<!DOCTYPE a [<!ENTITY e "aaaaaaaaaa">]>'


@pytest.mark.parametrize(
    "duration",
    [">900000000", ' x="1">900000000', "><!-- -->900000000", "><![CDATA[900000000]]>", ">9<?a?>00000000", ">9e8",
     ">&#57;00000000", "\n>\n900000000\n"],
)  # fmt: skip
def test_a_rest_without_end_is_refused_however_it_is_written(tmp_path, duration):
    text = musicxml(made_score(1)).replace("<backup>", REST.format(duration) + "<backup>", 1)
    with pytest.raises(ScoreUnreadable, match="lasts 9e.08 divisions"):
        read_score(written(tmp_path, text), "score.musicxml")


@pytest.mark.parametrize("name", ["score.musicxml", "score.mei"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_wherever_they_are_and_in_every_encoding(tmp_path, name, encoding):
    text = musicxml(made_score(1)) if name.endswith("xml") else MEI
    declaration, _, rest = text.partition("?>")
    declaration = f'{declaration.split(" encoding")[0]} encoding="{encoding}"?>'
    content = f"{declaration}<!--{'x' * 150_000}-->{ENTITIES}{rest}".encode(encoding)
    with pytest.raises(ScoreUnreadable, match="entities"):
        read_score(written(tmp_path, content, name), name)


def test_a_score_that_takes_too_long_costs_a_line_and_the_next_one_is_read(tmp_path):
    path, reader = written(tmp_path, musicxml(made_score(1))), BoundedReader()
    try:
        assert reader.read(path, "score.musicxml", {})
        reader.read_s = 0.0
        with pytest.raises(ScoreUnreadable, match="score.musicxml: is not read within 0 s and 6 GB. Remove it"):
            reader.read(path, "score.musicxml", {})
        reader.read_s = 120.0
        assert reader.read(path, "score.musicxml", {})
    finally:
        reader.close()


def test_what_takes_all_memory_costs_a_line(tmp_path):
    path, reader = written(tmp_path, musicxml(made_score(1))), BoundedReader(max_memory_bytes=1 << 20)
    try:
        with pytest.raises(ScoreUnreadable, match="score.musicxml: is (not read within|too deep or too large)"):
            reader.read(path, "score.musicxml", {})
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("name", "score_id"),
    [
        (b"\xff.musicxml", "\\udcff.musicxml"),
        (b"a\nb.musicxml", "a\\nb.musicxml"),
        ("é.musicxml".encode(), "é.musicxml"),
    ],
)
def test_a_score_of_any_name_has_an_id_that_a_table_holds(tmp_path, name, score_id):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(musicxml(made_score(1, 4)))
    (found,) = [score for _, score in read_scores(tmp_path)]
    assert found.score_id == score_id
    assert pa.array([found.score_id])[0].as_py() == score_id
