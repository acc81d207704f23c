"""The browser's server: it shows, plays and counts what is there, takes reviews, and keeps strangers out."""

from __future__ import annotations

import io
import json
import re
import socket
from html.parser import HTMLParser
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import soundfile
from browsing import Visitor
from datasets_made import make_rows
from fakes import write_audio

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.midi import read_midi
from aria_data.release.reviews import Reviews
from flows.browse.filters import Filter
from flows.browse.rows import Rows
from flows.browse.spectrogram import spectrogram_png

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def attributes_in(text) -> list[str]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend(name for name, _ in attrs)

    Reader().feed(text)
    return found


@pytest.fixture(scope="module")
def visitor(built):
    with Visitor(built) as one:
        yield one


@pytest.fixture
def many(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 230))
    with Visitor(tmp_path) as one:
        yield one


def id_of(root):
    return Manifest(root).rows()[0]["segment_id"]


def test_a_segments_page_has_its_facts_reasons_and_sounds(visitor, built):
    page = visitor.get("/segment", params={"id": id_of(built)}).text
    assert "Frédéric Chopin" in page
    assert "in the manifest since version 1" in page
    assert "mean_velocity" in page
    assert page.count("<audio") == 2


def test_the_recording_that_is_played_is_the_segments_span(visitor, built):
    row = Manifest(built).rows()[0]
    answer = visitor.get("/recording.wav", params={"id": row["segment_id"]})
    waveform, rate = soundfile.read(io.BytesIO(answer.content))
    assert len(waveform) / rate == pytest.approx(row["duration_s"], abs=0.01)
    assert np.abs(waveform).max() > 0.05


def test_the_transcription_that_is_played_has_the_onsets_of_the_notes(visitor, built):
    row = Manifest(built).rows()[0]
    answer = visitor.get("/notes.wav", params={"id": row["segment_id"]})
    waveform, rate = soundfile.read(io.BytesIO(answer.content))
    onsets = sorted({note.onset_s for note in read_midi(built / row["midi_path"]).notes})
    loudness = np.sqrt(np.convolve(waveform**2, np.ones(rate // 100) / (rate // 100), "same"))
    for onset_s in onsets[:20]:
        before = loudness[max(0, int((onset_s - 0.03) * rate))]
        after = loudness[int((onset_s + 0.01) * rate) : int((onset_s + 0.06) * rate)].max()
        assert after > before


def test_a_part_of_a_sound_is_the_same_bytes(visitor, built):
    params = {"id": id_of(built)}
    whole = visitor.get("/notes.wav", params=params).content
    part = visitor.get("/notes.wav", params=params, headers={"range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole)}"
    assert part.content == whole[100:300]


def test_the_notes_and_scores_that_are_drawn_are_those_of_the_segment(visitor, built):
    row = Manifest(built).rows()[0]
    drawn = visitor.get("/notes.json", params={"id": row["segment_id"]}).json()
    notes = read_midi(built / row["midi_path"]).notes
    assert drawn["notes"]["pitches"] == [note.pitch for note in notes]
    assert drawn["notes"]["velocities"] == [note.velocity for note in notes]
    assert drawn["notes"]["onsets"] == [round(note.onset_s * 10_000) for note in notes]
    assert drawn["notes"]["offsets"] == [round(note.offset_s * 10_000) for note in notes]
    assert drawn["scores"]["values"]
    assert (drawn["start_s"], drawn["end_s"]) == (row["start_s"], row["end_s"])


def test_a_tone_is_drawn_at_its_pitch(tmp_path):
    from matplotlib.image import imread

    times = np.arange(8000 * 3) / 8000
    path = write_audio(tmp_path / "a.wav", np.sin(2 * np.pi * 880 * times).astype(np.float32)[:, None] * 0.5, 8000)
    picture = imread(io.BytesIO(spectrogram_png(tmp_path, f"file://{path}", 0.0, 3.0)))[:, :, :3].sum(axis=2)
    loudest = picture[:, 400:1200].mean(axis=1).argmax()
    assert 108 - loudest / 2 == pytest.approx(81, abs=1.5)  # A5


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 96_000])
def test_a_coarse_picture_of_a_long_span_has_the_tone_at_its_pitch_and_time(tmp_path, rate):
    from matplotlib.image import imread

    times = np.arange(rate * 40) / rate
    tone = np.sin(2 * np.pi * 880 * times) * (times < 20)
    path = write_audio(tmp_path / "a.flac", tone.astype(np.float32)[:, None] * 0.5, rate)
    content = spectrogram_png(tmp_path, f"file://{path}", 0.0, 40.0, is_coarse=True)
    picture = imread(io.BytesIO(content))[:, :, :3].sum(axis=2)
    assert 108 - picture[:, 100:700].mean(axis=1).argmax() / 2 == pytest.approx(81, abs=1.5)
    assert picture[:, 900:].max() < picture[:, 100:700].max() / 2


def test_what_was_rejected_has_a_page_with_its_reason_and_sound(visitor):
    listed = visitor.get("/rejected").text
    assert "no_solo_piano" in listed
    item_id = re.search(r'/item\?id=([^"]+)">[^<]*</a></th><td>noise.wav', listed)[1]
    page = visitor.get(f"/item?id={item_id}").text
    assert "no_solo_piano" in page
    assert "data-drawn" in page
    assert "no span" in page
    assert visitor.get(f"/item.png?id={item_id}").content.startswith(b"\x89PNG")
    waveform, rate = soundfile.read(io.BytesIO(visitor.get(f"/item.wav?id={item_id}").content))
    assert len(waveform) / rate == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 230),
        ({"q": "SATIE"}, 77),
        ({"split": "test"}, 57),
        ({"where": "num_notes >= 200"}, 30),
        ({"where": "num_notes >= 200", "split": "test"}, 7),
        ({"where": "midi_sha256 IS NULL OR in_unique"}, 115),
        ({"min_duration_s": "1e9"}, 0),
        ({"min_duration_s": "nonsense", "page": "-1", "sort": "nothing; DROP TABLE held"}, 230),
    ],
)
def test_filters_find_what_they_say(many, query, count):
    answer = many.get("/", params=query)
    assert answer.status_code == 200, answer.text
    assert f"<h1>{count:,} segments" in answer.text


def test_pages_and_sorting_show_every_row_once(many):
    seen = []
    for page in range(3):
        shown = many.get("/", params={"page": page, "sort": "num_notes", "order": "desc"}).text
        seen += re.findall(r'href="/segment\?id=([^"]+)"', shown)
    assert len(seen) == len(set(seen)) == 230
    assert seen[0] == "local-0229_0"


@pytest.mark.parametrize("where", ["num_notes >", "1=1) OR (1=1", "x = 3", "(SELECT 1", "1; DROP TABLE held"])
def test_a_condition_that_cannot_be_used_is_said_on_the_page(many, where):
    answer = many.get("/", params={"where": where})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<h1>230 segments" in answer.text


def test_a_filter_and_its_address_are_each_others_inverse():
    chosen = Filter("a & b", "x > 1", {"composer": "Bach"}, {"duration_s": (1.0, None)}, "bad", "title", True, 3)
    assert Filter.of(chosen.as_query()) == chosen


def test_only_who_knows_the_token_is_let_in(visitor, built):
    with httpx.Client(base_url=visitor.origin, trust_env=False) as stranger:
        for path in ("/", f"/segment?id={id_of(built)}", "/static/table.js", "/?token=guess", "/?token=%C3%A9"):
            answer = stranger.get(path)
            assert answer.status_code == 403
            assert "Chopin" not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_another_name_for_this_address_is_refused(visitor, host):
    assert visitor.get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
def test_another_sites_page_cannot_review(visitor, built, origin):
    headers = {} if origin is None else {"origin": origin}
    answer = visitor.client.post("/review", data={"id": id_of(built), "verdict": "bad"}, headers=headers)
    assert answer.status_code == 403
    assert not Reviews(built).all()


def test_every_answer_forbids_script_from_elsewhere(visitor, built):
    for path in ("/", f"/segment?id={id_of(built)}", "/nothing", "/static/browse.css"):
        headers = visitor.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_hostile_text_is_shown_as_text(tmp_path):
    rows = make_rows(tmp_path, 2)
    rows[0] |= {"title": HOSTILE, "composer": HOSTILE, "licence": HOSTILE, "notes_cluster": HOSTILE}
    rows[1] |= {"notes_cluster": HOSTILE}
    Manifest(tmp_path).commit(rows)
    with Visitor(tmp_path) as visitor:
        for path in ("/", "/segment?id=local-0000_0", "/segment?id=local-0001_0", f"/?q={quote(HOSTILE)}"):
            text = visitor.get(path).text
            assert "<script>alert" not in text
            assert "<img" not in text
            assert not [name for name in attributes_in(text) if name.startswith("on")]


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e%2fapp.py", "/segment?id=../../etc/passwd", "/recording.wav?id=file:///etc/passwd",
     "/item.wav?id=/etc/passwd", "/notes.json", "/segment?id=%00%ff"],
)  # fmt: skip
def test_no_request_names_a_file(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_an_address_too_long_is_refused(visitor):
    assert visitor.get("/", params={"q": "x" * 20_000}).status_code == 414


def test_a_review_is_kept_shown_and_asked_by_sql(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 3, start_s=1.0, end_s=3.0))
    with Visitor(tmp_path) as visitor:
        data = {"id": "local-0001_0", "verdict": "bad", "fault": ["wrong tag", "wrong bounds"], "note": "late"}
        assert visitor.post(data).status_code == 200
        assert visitor.post({"id": "local-0001_0", "verdict": "good"}).status_code == 200
        assert "wrong bounds; wrong tag" in visitor.get("/segment?id=local-0001_0").text
        assert re.search(r"local-0001_0.*?<td>good</td></tr>", visitor.get("/").text, re.DOTALL)
        for bad in ({"id": "local-0001_0", "verdict": "great"}, {"id": "local-0001_0", "verdict": "bad", "fault": "x"}):
            assert visitor.post(bad).status_code == 400
        assert visitor.post({"id": "no", "verdict": "bad"}).status_code == 404
        assert visitor.post({"id": "local-0001_0", "verdict": "bad", "note": "x" * 9000}).status_code == 413
    first, second = Reviews(tmp_path).all()
    assert (first.verdict, first.faults, first.note, first.start_s) == ("bad", "wrong bounds; wrong tag", "late", 1.0)
    assert second.number == 2
    from flows.report.views import open_views, select

    with open_views(tmp_path) as connection:
        found = select(
            connection, "SELECT verdict FROM present JOIN reviews USING (segment_id) ORDER BY reviews.number"
        )
    assert found["verdict"].to_pylist() == ["bad", "good"]


def test_the_review_queue_goes_through_every_segment_once_least_agreement_first(tmp_path):
    rows = make_rows(tmp_path, 4)
    for row, agreement in zip(rows, (0.9, 0.2, 0.5, 0.7), strict=True):
        row["onset_agreement"] = agreement
    Manifest(tmp_path).commit(rows)
    order = []
    with Visitor(tmp_path) as visitor:
        for _ in range(4):
            segment_id = visitor.get("/next").url.params["id"]
            order.append(segment_id)
            visitor.post({"id": segment_id, "verdict": "good"})
        assert visitor.get("/next").status_code == 404
    assert order == ["local-0001_0", "local-0002_0", "local-0003_0", "local-0000_0"]


def test_a_recording_that_is_away_is_said_and_the_transcription_still_plays(built, visitor, tmp_path):
    segment_id = Manifest(built).rows()[-1]["segment_id"]  # whose sound no other test has asked for
    recordings = built.parent / "in"
    recordings.rename(tmp_path / "away")
    try:
        assert visitor.get("/recording.wav", params={"id": segment_id}).status_code == 400
        assert visitor.get("/spectrogram.png", params={"id": segment_id}).status_code == 400
        assert visitor.get("/notes.wav", params={"id": segment_id}).status_code == 200
        assert visitor.get("/segment", params={"id": segment_id}).status_code == 200
    finally:
        (tmp_path / "away").rename(recordings)


def test_a_removed_segment_has_no_page(tmp_path):
    rows = make_rows(tmp_path, 2)
    rows[0] |= {"removed_in": 1, "removal_reason": "asked for", "midi_path": None}
    Manifest(tmp_path).commit(rows)
    with Visitor(tmp_path) as visitor:
        assert visitor.get("/segment?id=local-0000_0").status_code == 404
        assert visitor.get("/segment?id=local-0001_0").status_code == 200


def test_json_of_notes_is_json(visitor, built):
    assert json.loads(visitor.get("/notes.json", params={"id": id_of(built)}).content)


def test_a_port_that_is_taken_is_named(tmp_path):
    from flows.browse import serve

    Manifest(tmp_path).commit(make_rows(tmp_path, 1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be listened on"):
            serve(tmp_path, "127.0.0.1", taken.getsockname()[1], None, print)


def test_a_question_that_takes_for_ever_is_stopped_and_holds_up_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.browse.rows.MAX_ANSWER_S", 0.3)
    Manifest(tmp_path).commit(make_rows(tmp_path, 230))
    asked = Rows(tmp_path)
    ids = " || ".join(f"{name}.segment_id" for name in "abcd")
    with pytest.raises(UsageError, match="cannot be used"):
        asked._ask(f"SELECT max(hash({ids})) FROM held a, held b, held c, held d")
    assert asked.page(Filter(), {}).num_found == 230
    asked.close()
