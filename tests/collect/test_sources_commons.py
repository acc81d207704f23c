"""Wikimedia Commons as a source, against a server that speaks MediaWiki's API as it is documented."""

from __future__ import annotations

import json

import pytest
from api_server import Answer, local_web, serving

from aria_data.collect import sources
from aria_data.collect.sources import wikimedia_commons
from aria_data.collect.sources.base import Lead, LeftOut
from aria_data.records import Candidate
from aria_data.web import FetchDelayed, FetchFailed, kind_of, licence_code

UPLOAD = "https://upload.wikimedia.org/wikipedia/commons/1/1a/"


def file_page(number=1, title="File:Chopin - Nocturne op. 9 no. 2.ogg", info=None, extended=None, **fields):
    """A file's page as `prop=imageinfo|categories` with `formatversion=2` gives it."""
    extmetadata = {
        "LicenseShortName": {"value": "CC BY-SA 4.0", "source": "commons-desc-page", "hidden": ""},
        "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0", "source": "commons-desc-page"},
        "Artist": {"value": '<a href="//commons.wikimedia.org/wiki/User:Anna" title="User:Anna">Anna\n Example</a>'},
        "ImageDescription": {"value": "<div>Played on an <i>upright</i> &amp; slowly<script>x()</script></div>"},
        "DateTimeOriginal": {"value": "2009-02-01"},
    }
    imageinfo = {
        "url": f"{UPLOAD}Nocturne.ogg?utm_source=commons.wikimedia.org&utm_campaign=imageinfo&utm_content=original",
        "descriptionurl": "https://commons.wikimedia.org/wiki/File:Chopin_-_Nocturne_op._9_no._2.ogg",
        "size": 4123456,
        "width": 0,
        "height": 0,
        "duration": 271.4,
        "mime": "application/ogg",
        "mediatype": "AUDIO",
        "sha1": "f5773cc425e629dadfcfa3e6a9b6a714dddbd8c8",
        "user": "Anna",
        "extmetadata": extmetadata | (extended or {}),
    }
    page = {
        "pageid": number,
        "ns": 6,
        "title": title,
        "imagerepository": "local",
        "imageinfo": [imageinfo | (info or {})],
    }
    return page | {"categories": [{"ns": 14, "title": "Category:Nocturnes"}]} | fields


def answer_of(*pages, **more):
    return {"batchcomplete": True, "query": {"pages": list(pages)}} | more


@pytest.fixture
def follow(monkeypatch):
    """Follow a target with Commons answering as given; what was asked is in `follow.asked`."""

    def run(target, answer, limit=100):
        with serving(answer if callable(answer) else lambda path, given: answer) as server:
            monkeypatch.setenv("ARIA_DATA_COMMONS_API", f"{server.address}/w/api.php")
            run.asked = server.asked
            return list(sources.follow(Lead("wikimedia_commons", target, depth=1, priority=0.5), local_web(), limit))

    return run


def candidates(found):
    return [one for one in found if isinstance(one, Candidate)]


def test_a_category_gives_its_audio_files_and_leads_to_its_subcategories(follow):
    subcategory = {"pageid": 9, "ns": 14, "title": "Category:Audio files of piano sonatas"}
    picture = file_page(3, "File:Piano.jpg", {"mediatype": "BITMAP", "mime": "image/jpeg"})
    score = file_page(4, "File:Prelude.mid", {"mediatype": "AUDIO", "mime": "audio/midi"})
    lead, found = follow("category:Audio files of piano music", answer_of(subcategory, file_page(), picture, score))
    assert (lead.target, lead.depth, lead.priority) == ("category:Audio files of piano sonatas", 2, 0.4)
    ((path, asked),) = follow.asked
    assert path == "/w/api.php"
    assert asked["generator"] == "categorymembers"
    assert asked["gcmtitle"] == "Category:Audio files of piano music"
    assert (asked["maxlag"], asked["format"], asked["formatversion"]) == ("5", "json", "2")
    assert (found.candidate_id, found.source) == ("wikimediacommons-1", "wikimediacommons")
    assert found.title == "Chopin - Nocturne op. 9 no. 2"
    assert found.location == f"{UPLOAD}Nocturne.ogg"
    assert found.source_url == "https://commons.wikimedia.org/wiki/File:Chopin_-_Nocturne_op._9_no._2.ogg"
    assert found.description == "Played on an upright & slowly"
    assert (found.uploader, found.uploader_url) == ("Anna Example", "https://commons.wikimedia.org/wiki/User:Anna")
    assert licence_code(found.licence) == "cc-by-sa"
    assert (found.announced_duration_s, found.num_bytes) == (271.4, 4123456)
    tags = json.loads(found.tags)
    assert (tags["categories"], tags["date"]) == ("Nocturnes", "2009-02-01")


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("category:Piano_music", {"gcmtitle": "Category:Piano music"}),
        (
            "https://commons.wikimedia.org/wiki/Category:%C3%89tudes_by_Chopin",
            {"gcmtitle": "Category:Études by Chopin"},
        ),
        ("https://commons.m.wikimedia.org/wiki/File:A_b.ogg?x=1", {"titles": "File:A b.ogg"}),
        ("https://commons.wikimedia.org/w/index.php?title=File:A_b.ogg", {"titles": "File:A b.ogg"}),
        ("File:A: b.ogg", {"titles": "File:A: b.ogg"}),
        ("image:A b.ogg", {"titles": "File:A b.ogg"}),
        ("chopin nocturne", {"gsrsearch": "filetype:audio chopin nocturne", "gsrnamespace": "6"}),
        ("filetype:audio incategory:Piano", {"gsrsearch": "filetype:audio incategory:Piano"}),
        ("Bach: prelude", {"gsrsearch": "filetype:audio Bach: prelude"}),
        ("x" * 1000, {"gsrsearch": ("filetype:audio " + "x" * 300)[:300]}),
    ],
)
def test_categories_files_addresses_and_words_are_understood(follow, target, asked):
    follow(target, answer_of(file_page()))
    assert asked.items() <= follow.asked[0][1].items()


@pytest.mark.parametrize(
    "target",
    [
        "category:",
        "File:A|File:B",
        "category:a\nb",
        "file:<x>",
        "https://commons.wikimedia.org/wiki/Main_Page",
        "https://commons.wikimedia.org/wiki/Special:Search?search=x",
        "https://example.org/wiki/File:A.ogg",
        "https://[bad/wiki/File:A.ogg",
    ],
)
def test_what_names_no_category_or_file_is_unsupported_and_asks_nothing(follow, target):
    with pytest.raises(FetchFailed) as caught:
        follow(target, {})
    assert kind_of(caught.value) == "unsupported"
    assert follow.asked == []


def test_a_continued_answer_is_put_together_before_it_is_given(follow):
    first, second = file_page(1, "File:A.ogg"), file_page(2, "File:B.ogg")
    bare = [{name: page[name] for name in ("pageid", "ns", "title")} for page in (first, second)]

    def answer(path, given):
        if "clcontinue" in given:  # the rest of the same two files, as API:Continue has it
            assert given["continue"] == "||imageinfo"
            rest = [bare[0], bare[1] | {"categories": [{"title": "Category:Late"}]}]
            more = {"continue": {"gcmcontinue": "file|43|3", "continue": "gcmcontinue||"}}
            return answer_of(*rest) | more
        if "gcmcontinue" in given:
            return answer_of(file_page(3, "File:C.ogg"))
        more = {"continue": {"clcontinue": "2|Late", "continue": "||imageinfo"}}
        return {"query": {"pages": [first, second]}} | more

    found = follow("category:Piano", answer)
    assert [one.title for one in found] == ["A", "B", "C"]
    assert json.loads(found[1].tags)["categories"] == "Nocturnes, Late"
    assert len(follow.asked) == 3


def test_a_search_is_given_in_the_order_of_its_ranks(follow):
    pages = [file_page(number, f"File:{number}.ogg", index=10 - number) for number in (1, 2, 3)]
    assert [one.title for one in follow("chopin", answer_of(*pages))] == ["3", "2", "1"]


def test_no_more_candidates_than_the_limit_and_no_further_request(follow):
    pages = [file_page(number, f"File:{number}.ogg") for number in range(50)]
    more = {"continue": {"gcmcontinue": "more", "continue": "-||"}}
    assert len(candidates(follow("category:Piano", answer_of(*pages, **more), limit=7))) == 7
    assert len(follow.asked) == 1


@pytest.mark.parametrize(
    ("has_more", "limit", "left_out"),
    [
        (False, 100, []),
        (False, 7, ["2 of 9 files", "2 of 9 subcategories"]),
        (True, 7, ["all after the first 7 files", "2 of 9 subcategories"]),
        (True, 9, ["all after the first 9 files"]),
    ],
)
def test_what_is_left_out_of_a_category_is_said(follow, has_more, limit, left_out):
    pages = [file_page(number, f"File:{number}.ogg") for number in range(9)]
    below = [{"pageid": 20 + number, "ns": 14, "title": f"Category:{number}"} for number in range(9)]
    more = {"continue": {"gcmcontinue": "more", "continue": "-||"}} if has_more else {}
    found = follow("category:Piano", answer_of(*pages, *below, **more), limit=limit)
    assert [one.what for one in found if isinstance(one, LeftOut)] == left_out


def test_continuing_that_repeats_itself_is_ended(follow):
    more = {"continue": {"gcmcontinue": "same", "continue": "-||"}}
    assert len(follow("category:Piano", answer_of(file_page(), **more))) == 1
    assert len(follow.asked) == 2


def test_continuing_without_end_is_ended(follow, monkeypatch):
    monkeypatch.setattr(wikimedia_commons, "MAX_REQUESTS", 12)

    def answer(path, given):
        return answer_of(file_page(), **{"continue": {"gcmcontinue": str(len(follow.asked)), "action": "delete"}})

    assert [type(one) for one in follow("category:Piano", answer)] == [Candidate, LeftOut]
    assert {given["action"] for _, given in follow.asked} == {"query"}
    assert len(follow.asked) == 12


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ({"ns": 6, "title": "File:A.ogg", "missing": True, "imagerepository": ""}, "gone"),
        (file_page(info={"filemissing": True, "url": None}), "gone"),
        (file_page(info={"mediatype": "VIDEO", "mime": "video/webm"}), "unsupported"),
        ({"title": "File:A.ogg", "invalid": True}, "unsupported"),
    ],
)
def test_a_file_that_is_no_candidate_says_why(follow, page, kind):
    with pytest.raises((FetchFailed, FetchDelayed)) as caught:
        follow("File:A.ogg", answer_of(page))
    assert kind_of(caught.value) == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"code": "maxlag", "info": "Waiting for 10.0.0.1: 7 seconds lagged.", "host": "10.0.0.1", "lag": 7},
            "rate-limited",
        ),
        ({"code": "ratelimited", "info": "You've exceeded your rate limit."}, "rate-limited"),
        ({"code": "readonly", "info": "The wiki is currently in read-only mode."}, "network"),
        ({"code": "internal_api_error_DBQueryError", "info": "Caught exception"}, "network"),
        ({"code": "cirrussearch-backend-error", "info": "We could not complete your search"}, "network"),
        ({"code": "invalidcategory", "info": "The category name you entered is not valid."}, "unsupported"),
        ({"code": {"a": 1}, "info": None}, "unsupported"),
        (["x"], "network"),
        (True, "network"),
    ],
)
def test_an_error_of_the_api_becomes_one_of_a_known_kind(follow, error, kind):
    with pytest.raises((FetchFailed, FetchDelayed)) as caught:
        follow("category:Piano", {"error": error, "servedby": "mw1"})
    assert kind_of(caught.value) == kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"query": []},
        {"query": {"pages": {"1": file_page()}}},  # formatversion=1
        {"query": {"pages": [None, 1, "x", [], {}, {"title": 3}, {"title": "File:" + "x" * 1000}]}},
        {"batchcomplete": "yes", "continue": ["x"], "query": {"pages": [{"title": "File:A.ogg", "imageinfo": [None]}]}},
        {"continue": {"gcmcontinue": {"a": 1}, "continue": None}},
    ],
)
def test_answers_of_wrong_shape_give_nothing(follow, answer):
    assert follow("category:Piano", answer) == []


@pytest.mark.parametrize(
    "url",
    [None, 7, "", "file:///etc/passwd", "javascript:x", "https://user:key@example.org/a.ogg", "https://x/\ud800", "//"],
)
def test_a_file_without_a_web_address_is_no_candidate(follow, url):
    assert follow("category:Piano", answer_of(file_page(info={"url": url}))) == []


def test_fields_of_wrong_types_count_as_not_said(follow):
    deep: list = []
    for _ in range(800):
        deep = [deep]
    extended = {
        "Artist": {"value": {"en": "x"}},
        "LicenseShortName": deep,
        "LicenseUrl": {"value": 7},
        "ImageDescription": 1,
    }
    info = {"size": "many", "duration": -1, "user": deep, "sha1": {}, "descriptionurl": "file:///x"}
    page = file_page("x", "File:Étude \ud800.ogg", info, extended, categories=deep, index="first")
    (found,) = follow("category:Piano", answer_of(page))
    assert (found.uploader, found.uploader_url, found.licence) == ("", "", "7")
    assert (found.announced_duration_s, found.num_bytes, found.description) == (None, 0, "")
    assert found.source_url == "https://commons.wikimedia.org/wiki/File:%C3%89tude_%3F.ogg"
    found.title.encode()
    (other,) = follow("category:Piano", answer_of(file_page(info={"extmetadata": []})))
    assert (other.licence, other.uploader) == ("", "Anna")


@pytest.mark.parametrize(
    ("extended", "code"),
    [
        ({"LicenseShortName": {"value": "Public domain"}, "LicenseUrl": {"value": ""}}, "pd"),
        (
            {
                "LicenseShortName": {"value": "CC0"},
                "LicenseUrl": {"value": "http://creativecommons.org/publicdomain/zero/1.0/"},
            },
            "cc0",
        ),
        (
            {"LicenseShortName": {}, "LicenseUrl": {}, "UsageTerms": {"value": "Creative Commons Attribution 3.0"}},
            "cc-by",
        ),
        (
            {"LicenseShortName": {"value": "GFDL"}, "LicenseUrl": {"value": "https://www.gnu.org/copyleft/fdl.html"}},
            "reserved",
        ),
        ({"LicenseShortName": {}, "LicenseUrl": {}}, "unknown"),
    ],
)
def test_licences_are_read_from_the_metadata_of_the_page(follow, extended, code):
    (found,) = follow("category:Piano", answer_of(file_page(extended=extended)))
    assert licence_code(found.licence) == code


def test_html_instead_of_json_is_a_failure_of_the_network(follow):
    with pytest.raises(FetchDelayed) as caught:
        follow("category:Piano", Answer(b"<!DOCTYPE html><title>Wikimedia Error</title>", content_type="text/html"))
    assert kind_of(caught.value) == "network"


def test_the_api_is_that_of_commons_unless_another_is_named(monkeypatch):
    monkeypatch.delenv("ARIA_DATA_COMMONS_API", raising=False)
    assert wikimedia_commons.base() == "https://commons.wikimedia.org/w/api.php"
    assert "wikimedia_commons" in sources.names()
