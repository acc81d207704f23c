"""The Internet Archive as a source, against a server that speaks its APIs as they are documented."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from api_server import Answer, local_web, serving

from aria_data.collect import sources
from aria_data.collect.sources import internet_archive
from aria_data.collect.sources.api import get_json, strip_html, values, whole
from aria_data.collect.sources.base import Lead, parse_seed
from aria_data.records import Candidate
from aria_data.web import FetchDelayed, FetchFailed, kind_of, licence_code

SCRAPE = "/services/search/v1/scrape"


def audio_file(name, **fields):
    return {"name": name, "source": "original", "format": "VBR MP3", "length": "245.3", "size": "8419768", **fields}


def item(files, **metadata):
    """A record as the metadata API gives it: all values are strings, also numbers."""
    defaults = {"identifier": "recital", "mediatype": "audio", "title": "Recital in Lugano", "creator": "Anna Example"}
    return {"created": 1616004182, "dir": "/21/items/recital", "files": files, "metadata": defaults | metadata}


@pytest.fixture
def follow(monkeypatch):
    """Follow a target with the archive answering as given; what was asked is in `follow.asked`."""

    def run(target, answer, limit=100):
        with serving(answer if callable(answer) else lambda path, given: answer) as server:
            monkeypatch.setenv("ARIA_DATA_ARCHIVE_API", server.address)
            run.address, run.asked = server.address, server.asked
            lead = Lead("internet_archive", target, depth=1, priority=0.8)
            return list(sources.follow(lead, local_web(), limit))

    return run


def candidates(found):
    return [one for one in found if isinstance(one, Candidate)]


def leads(found):
    return [one.target for one in found if isinstance(one, Lead)]


def test_a_search_pages_with_the_cursor_and_gives_a_lead_to_each_item(follow):
    def answer(path, given):
        assert path == SCRAPE
        start = int(given.get("cursor", 0))
        page = {"items": [{"identifier": f"item{n}"} for n in range(start, start + 2)], "count": 2, "total": 6}
        return page | ({"cursor": str(start + 2)} if start < 4 else {})

    found = follow('subject:"piano" AND mediatype:audio AND licenseurl:*', answer)
    assert leads(found) == [f"item:item{n}" for n in range(6)]
    assert {(lead.depth, lead.priority) for lead in found} == {(2, 0.8)}
    assert len(follow.asked) == 3
    first = follow.asked[0][1]
    assert first == {
        "q": 'subject:"piano" AND mediatype:audio AND licenseurl:*',
        "fields": "identifier",
        "count": "100",
    }


def test_a_search_gives_no_more_leads_than_the_limit_and_asks_no_further(follow):
    page = {"items": [{"identifier": f"item{n}"} for n in range(100)], "cursor": "more"}
    assert len(leads(follow("piano", page, limit=7))) == 7
    assert len(follow.asked) == 1


@pytest.mark.parametrize(
    ("target", "query"),
    [
        ("collection:netlabels", 'collection:"netlabels" AND mediatype:(audio OR etree)'),
        ("creator:Anna Example", 'creator:"Anna Example" AND mediatype:(audio OR etree)'),
        ('creator:"Anna Example"', 'creator:"Anna Example" AND mediatype:(audio OR etree)'),
        ("uploader:anna@example.org", 'uploader:"anna@example.org" AND mediatype:(audio OR etree)'),
        ("creator:Anna AND subject:piano", "(creator:Anna AND subject:piano) AND mediatype:(audio OR etree)"),
        ("solo piano", "(solo piano) AND mediatype:(audio OR etree)"),
    ],
)
def test_collections_creators_and_plain_words_become_searches_for_audio(follow, target, query):
    assert follow(target, {"items": []}) == []
    assert follow.asked[0][1]["q"] == query


@pytest.mark.parametrize("cursors", [lambda n: "same", lambda n: f"cursor{n}"])
def test_paging_that_never_ends_is_ended(follow, cursors):
    def answer(path, given):
        return {"items": [{"identifier": "only"}], "cursor": cursors(len(follow.asked))}

    assert leads(follow("piano", answer)) == ["item:only"]
    assert len(follow.asked) == 2


def test_search_results_of_wrong_shape_are_left_out(follow):
    items = [
        None,
        3,
        "x",
        [],
        {},
        {"identifier": None},
        {"identifier": "../../x"},
        {"identifier": "a/b"},
        {"identifier": "ok"},
    ]
    assert leads(follow("piano", {"items": items, "cursor": {"a": 1}})) == ["item:ok"]
    assert follow("piano", {"items": "none"}) == []


def test_an_item_gives_a_candidate_for_each_original_and_a_lead_to_its_creator(follow):
    files = [
        audio_file("01 Nocturne.mp3", title="Nocturne in E flat major", track="1", album="Night", artist="A. Example"),
        audio_file("01 Nocturne.ogg", source="derivative", format="Ogg Vorbis", original="01 Nocturne.mp3"),
        audio_file("01 Nocturne_64kb.mp3", source="derivative", format="64Kbps MP3", original="01 Nocturne.mp3"),
        audio_file("02.mp3", title="I. Allegro", length="4:05"),
        {"name": "recital_meta.xml", "source": "original", "format": "Metadata"},
        {"name": "cover.jpg", "source": "original", "format": "JPEG"},
    ]
    record = item(
        files,
        description="<p>Played in <b>Lugano</b>.</p><script>evil()</script>",
        licenseurl="http://creativecommons.org/licenses/by/4.0/",
        subject=["piano", "classical"],
        date="1987-05-02",
        language="ita",
    )
    found = follow("item:recital", record)
    first, second = candidates(found)
    assert follow.asked == [("/metadata/recital", {})]
    assert first.source == "internetarchive"
    assert first.title == "Nocturne in E flat major"
    assert first.description == "Played in Lugano."
    assert first.uploader == "Anna Example"
    assert licence_code(first.licence) == "cc-by"
    assert (first.announced_duration_s, first.num_bytes) == (245.3, 8419768)
    assert first.location == f"{follow.address}/download/recital/01%20Nocturne.mp3"
    assert first.source_url == "https://archive.org/details/recital"
    tags = {"album": "Night", "artist": "A. Example", "track": "1", "date": "1987-05-02", "language": "ita"}
    assert json.loads(first.tags) == tags | {"subject": "piano, classical"}
    assert second.title == "Recital in Lugano - I. Allegro"
    assert second.announced_duration_s == 245.0
    assert leads(found) == ['creator:"Anna Example"']
    assert found[-1].priority == 0.4


@pytest.mark.parametrize(
    "target",
    ["item:recital", "https://www.archive.org/details/recital", "https://archive.org/details/recital/01.mp3?x=1"],
)
def test_an_item_can_be_named_or_given_by_its_address(follow, target):
    assert len(candidates(follow(target, item([audio_file("01.mp3")])))) == 1
    assert follow.asked[0][0] == "/metadata/recital"


@pytest.mark.parametrize(
    "target",
    [
        "item:",
        "item:../x",
        "item:a b",
        "https://example.org/details/x",
        "https://archive.org/about",
        "https://[bad/details/x",
    ],
)
def test_what_names_no_item_is_unsupported_and_asks_nothing(follow, target):
    with pytest.raises(FetchFailed) as caught:
        follow(target, {})
    assert kind_of(caught.value) == "unsupported"
    assert follow.asked == []


def test_the_lossless_one_of_two_originals_is_taken(follow):
    files = [audio_file("a/1.mp3", title="Prelude"), audio_file("a/1.flac", format="Flac"), audio_file("b/1.mp3")]
    found = candidates(follow("item:recital", item(files)))
    assert [unquote(one.location.partition("recital/")[2]) for one in found] == ["a/1.flac", "b/1.mp3"]
    assert found[0].title == "Recital in Lugano - Prelude"


def test_a_derivative_is_taken_only_for_an_original_that_is_too_large(follow):
    files = [
        audio_file("tape.wav", format="WAVE", size="900000000", title="The whole long recital"),
        audio_file("tape.ogg", source="derivative", format="Ogg Vorbis", original="tape.wav", size="60000000"),
        audio_file(
            "tape.mp3", source="derivative", format="VBR MP3", original="tape.wav", size="70000000", length="50:00"
        ),
        audio_file("huge.wav", format="WAVE", size="900000000"),
    ]
    first, second = candidates(follow("item:recital", item(files)))
    assert first.location.endswith("/tape.mp3")
    assert (first.title, first.num_bytes, first.announced_duration_s) == ("The whole long recital", 70000000, 3000.0)
    assert second.location.endswith("/huge.wav")


def test_a_collection_becomes_a_search_of_it(follow):
    found = follow("item:netlabels", {"metadata": {"mediatype": "collection", "title": "Netlabels"}, "files": []})
    assert leads(found) == ["collection:netlabels"]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({}, "gone"),
        ({"is_dark": True, "metadata": {}}, "gone"),
        ({"error": "Couldn't locate item 'recital'"}, "gone"),
        ({"metadata": []}, "network"),
        (item([audio_file("1.mp3")], **{"access-restricted-item": "true"}), "private"),
        (item([audio_file("1.mp3")], collection=["inlibrary", "audio"]), "private"),
        (item([audio_file("1.mp3")], lending___status="is_lendable"), "private"),
        (item([audio_file("1.mp3", private="true")]), "unsupported"),
        (item([{"name": "book.pdf", "source": "original"}]), "unsupported"),
        (item(None), "unsupported"),
        ({"error": "rate limit exceeded"}, "rate-limited"),
        ({"error": "search backend timed out"}, "network"),
    ],
)
def test_what_cannot_be_had_says_why(follow, record, kind):
    with pytest.raises((FetchFailed, FetchDelayed)) as caught:
        follow("item:recital", record)
    assert kind_of(caught.value) == kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../../x.mp3",
        "/etc/x.mp3",
        "a//b.mp3",
        "a/../b.mp3",
        "a\0.mp3",
        "a\n.mp3",
        "a\\b.mp3",
        "\ud800.mp3",
        "x" * 2000 + ".mp3",
    ]
    + [".mp3", "", None, 7, {}, "a/./b.mp3", "a\x9b.mp3"],
)
def test_a_file_name_that_leads_elsewhere_is_no_candidate(follow, name):
    found = candidates(follow("item:recital", item([audio_file(name), audio_file("good.mp3")])))
    assert [one.location.rpartition("/")[2] for one in found] == ["good.mp3"]


def test_odd_but_honest_file_names_are_quoted(follow):
    name = "Été #1?/夜想曲 100%.mp3"
    (found,) = candidates(follow("item:recital", item([audio_file(name)])))
    assert found.location.isascii()
    assert unquote(found.location.partition("/recital/")[2]) == name
    assert "?" not in found.location
    assert "#" not in found.location


def test_fields_of_wrong_types_count_as_not_said(follow):
    deep: list = []
    for _ in range(800):
        deep = [deep]
    evil = {"title": {"a": 1}, "creator": [None, {"x": 1}, deep], "licenseurl": True, "rights": deep, "subject": deep}
    files = [None, 1, [], {"name": "a.mp3"}, audio_file("b.mp3", title=deep, length={"s": 1}, size=-5, format=None)]
    (found,) = follow("item:recital", item(files, **evil, description=[1, "two", {}, deep]))
    assert (found.title, found.uploader, found.licence) == ("b", "", "")
    assert (found.announced_duration_s, found.num_bytes) == (None, 0)
    assert found.description == "1\ntwo"


@pytest.mark.parametrize(
    ("length", "seconds"), [("nan", None), ("-3", None), ("1e400", None), ("1:02:03", 3723.0), (12, 12.0)]
)
def test_lengths_are_read_or_left_out(follow, length, seconds):
    (found,) = candidates(follow("item:recital", item([audio_file("a.mp3", length=length)])))
    assert found.announced_duration_s == seconds


def test_an_item_gives_no_more_candidates_than_the_limit(follow):
    files = [audio_file(f"{number}.mp3") for number in range(5000)]
    assert len(candidates(follow("item:recital", item(files), limit=3))) == 3


def test_a_creators_name_cannot_become_another_query(follow):
    evil = 'x" OR mediatype:software OR creator:"\\y\ud800\n'
    (lead,) = leads(follow("item:recital", item([audio_file("a.mp3")], creator=evil)))
    assert lead == 'creator:"x OR mediatype:software OR creator: y"'
    assert leads(follow("item:recital", item([audio_file("a.mp3")], creator="Various Artists"))) == []
    follow(lead, {"items": []})
    assert lead in follow.asked[0][1]["q"]


def test_of_several_licences_none_more_generous_is_read(follow):
    given = {
        "licenseurl": "http://creativecommons.org/licenses/by/4.0/",
        "rights": "see creativecommons.org/licenses/by-nc/4.0",
    }
    (found,) = candidates(follow("item:recital", item([audio_file("a.mp3")], **given)))
    assert licence_code(found.licence) == "cc-by-nc"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(b"<html>Service down</html>", content_type="text/html"), "network"),
        (Answer(b"<html>Service down</html>"), "network"),
        (Answer(b""), "network"),
        (Answer(b"[1, 2]"), "network"),
        (Answer(b'"text"'), "network"),
        (Answer(b"[" * 100_000), "network"),
        (Answer(b'{"items": ' + b"9" * 5000 + b"}"), "network"),
        (Answer({}, status=429, headers={"Retry-After": "0"}), "rate-limited"),
        (Answer({}, status=503), "network"),
        (Answer({"error": "bad query"}, status=400), "unsupported"),
        (Answer({}, status=404), "gone"),
    ],
)
def test_an_answer_that_is_no_json_object_is_an_error_of_a_known_kind(follow, answer, kind):
    with pytest.raises((FetchFailed, FetchDelayed)) as caught:
        follow("piano", answer)
    assert kind_of(caught.value) == kind


def test_bytes_that_are_no_utf8_and_a_false_charset_do_no_harm(follow):
    body = json.dumps(item([audio_file("a.mp3")], creator="CREATOR"), ensure_ascii=False).encode()
    body = b"\xef\xbb\xbf" + body.replace(b"CREATOR", b"Ren\xe9e")
    (found,) = candidates(follow("item:recital", Answer(body, content_type="application/json; charset=hex")))
    assert found.uploader == "Ren�e"


def test_an_api_that_asks_for_patience_is_left_alone_for_as_long_as_it_says():
    web = local_web()
    held = []
    web.pacer.hold_off = lambda host, seconds: held.append((host, seconds))  # type: ignore[method-assign]
    with serving(lambda path, given: Answer({"error": "Too many requests"}, headers={"Retry-After": "30"})) as server:
        with pytest.raises(FetchDelayed):
            get_json(web, f"{server.address}/x")
        assert held == [(server.address.removeprefix("http://"), 30.0)]


def test_seeds_as_people_write_them_reach_the_source():
    lead = parse_seed('internet-archive:subject:"piano" AND licenseurl:*')
    assert (lead.source, lead.target) == ("internet_archive", 'subject:"piano" AND licenseurl:*')
    assert "internet_archive" in sources.names()
    assert "api" not in sources.names()
    assert internet_archive.base() == "https://archive.org"


def test_html_becomes_the_text_a_reader_sees():
    assert strip_html("a<br>b <i>c</i> &amp; d<style>x{}</style><!-- no -->") == "a\nb c & d"
    assert strip_html("3 < 4 & 5") == "3 < 4 & 5"
    assert strip_html("<![if foo]>x</p>y") in ("x\ny", "x y")
    assert strip_html("<a " * 100_000).startswith("<a")  # and soon


def test_fields_of_any_shape_become_plain_values():
    assert values(["a", 1, None, True, {}, [], " b "]) == ["a", "1", "b"]
    assert values({"a": 1}) == []
    assert [whole(one) for one in ("12", 12, "1e9", "-1", -1, True, None, "9" * 30)] == [12, 12, 0, 0, 0, 0, 0, 0]
