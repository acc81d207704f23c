"""Sources that read pages, feeds and lists, hostile ones too."""

from __future__ import annotations

import json
from dataclasses import astuple

import pytest
from web_server import Site, a_web, endless, redirect, sound
from work import num_calls

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.collect.sources.html import MAX_LINKS, read_page
from aria_data.errors import AriaDataError
from aria_data.records import Candidate
from aria_data.web import Web, kind_of


@pytest.fixture
def site():
    with Site() as site:
        yield site


# What sources make of pages


def found_at(web: Web, source: str, target: str, limit: int = 100) -> tuple[list[Candidate], list[Lead]]:
    found = list(follow(Lead(source, target), web, limit))
    return [one for one in found if isinstance(one, Candidate)], [one for one in found if isinstance(one, Lead)]


def tried(web: Web, source: str, target: str, limit: int = 100) -> tuple[list[Candidate], list[Lead], str]:
    """What is found, or the kind of error, which has to be one line."""
    try:
        return *found_at(web, source, target, limit), ""
    except AriaDataError as error:
        if "\n" in str(error):
            raise
        return [], [], kind_of(error)


def test_a_page_says_what_its_audio_is_and_where_its_neighbours_are(site):
    head = (
        '<meta name="author" content="Clara"><link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    )
    head += '<link rel="alternate" type="application/rss+xml" href="/feed"><meta name="description" content="Live.">'
    page = site.add_page("/a.html", "Sonata & Fugue", ["/a.flac"], ["/b.html", "http://else.org/", "/a.html#top"], head)
    candidates, leads = found_at(a_web(), "page", page)
    (one,) = candidates
    assert (one.title, one.uploader, one.description) == ("Sonata & Fugue", "Clara", "Live.")
    assert (one.location, one.source_url) == (site.address("/a.flac"), page)
    assert one.licence == "https://creativecommons.org/licenses/by/4.0/"
    assert [(each.source, each.target) for each in leads] == [
        ("feed", site.address("/feed")), ("page", site.address("/b.html")),
    ]  # fmt: skip


def test_json_ld_speaks_for_the_audio_it_names(site):
    objects = [
        {
            "@type": "AudioObject",
            "name": name,
            "contentUrl": f"/{name}.flac",
            "duration": "PT1M5S",
            "author": {"name": "C"},
        }
        for name in ("one", "two")
    ]
    page = site.add("/a", f'<script type="application/ld+json">{json.dumps({"@graph": objects})}</script>')
    candidates, _ = found_at(a_web(), "page", page)
    assert [(one.title, one.announced_duration_s, one.uploader) for one in candidates] == [
        ("one", 65, "C"),
        ("two", 65, "C"),
    ]


def test_an_audio_file_at_an_address_is_a_candidate_and_is_not_read(site):
    url = site.add_audio("/Chopin_Nocturne.flac")
    (one,), _ = found_at(a_web(), "page", url)
    assert (one.title, one.num_bytes) == ("Chopin Nocturne", len(sound(8)))


HOSTILE = {
    "nothing": "",
    "no end": "<a href='/b.html'>more" + "<div>" * 50_000,
    "an open tag": "<a href=" + "x" * 500_000,
    "an open declaration": "<!" + "[" * 100_000,
    "open comments": "<!--" * 100_000,
    "deep JSON-LD": '<script type="application/ld+json">' + "[" * 200_000 + "</script>",
    "wide JSON-LD": '<script type="application/ld+json">'
    + json.dumps([{"@type": "AudioObject"}] * 20_000) + "</script>",
    "odd JSON-LD": '<script type="application/ld+json">'
    + json.dumps([{"@type": "AudioObject", "contentUrl": 3, "duration": {}, "author": [1], "name": ["x"]}])
    + "</script>",
    "JSON-LD with odd addresses": '<script type="application/ld+json">'
    + json.dumps([{"@type": "AudioObject", "contentUrl": url} for url in ("http://[", "file:///x", "\0", "//")])
    + "</script>",
    "JSON-LD with half a character": '<script type="application/ld+json">{"@type": "AudioObject", "name": "\\ud800",'
    ' "contentUrl": "http://a.org/\\udfff.mp3?\\ud800=\\ud800", "license": "\\ud800"}</script>',
    "links to nowhere": "".join(
        f'<a href="{url}">x</a>'
        for url in ("http://[", "javascript:alert(1)", "file:///etc/passwd", "http://a:99999/", "\0", "//", "http://\ud7ff/")
    ),
    "audio nowhere": '<audio src="file:///etc/passwd"></audio><audio src="data:audio/wav;base64,AA"></audio>',
    "a base elsewhere": '<base href="file:///etc/"><a href="passwd">x</a>',
    "many bases": "<base href='http://[/'>" * 100 + "<a href='/b'>x</a>",
    "a title without end": "<title>" + "Sonata " * 100_000,
    "control characters": "<title>a\0b\x1b[31mc\u202e</title><audio src='/a.flac'></audio>",
    "a million entities": "<title>" + "&amp;" * 200_000 + "</title>",
    "one huge attribute": f'<meta name="description" content="{"x" * 2_000_000}">',
    "much binary": bytes(range(256)).decode("latin-1") * 2000,
}  # fmt: skip


@pytest.mark.timeout(120)  # a guard against hanging: tenths of a second are expected
@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_is_too_odd_or_takes_for_ever(name):
    found = read_page("http://a.org/x", HOSTILE[name])
    assert all(address.startswith(("http://", "https://")) for address, _ in [*found.links, *found.audio])
    assert len(found.links) <= MAX_LINKS


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_gives_plain_candidates_or_an_error_of_a_known_kind(site, name):
    site.add("/a", HOSTILE[name].encode("utf-8", "surrogatepass"))
    candidates, leads, kind = tried(a_web(), "page", site.address("/a"))
    assert kind in ("", "unsupported", "network")
    for one in candidates:
        assert "\0" not in str(astuple(one))
        assert len(one.title) <= 500
        assert one.location.startswith("http")
        str(one).encode()
    assert all(each.target.startswith(site.address("")) for each in leads)


def links(count: int) -> str:
    return "".join(f'<a href="/{number}">link {number}</a>\n' for number in range(count))


@pytest.mark.slow
def test_five_megabytes_of_links_are_read_and_bounded(site):
    body = links(180_000)
    assert len(body) > 5_000_000
    _, leads = found_at(a_web(), "page", site.add("/a", body))
    assert len(leads) == MAX_LINKS


def test_the_work_for_a_page_grows_with_its_links_and_no_faster():
    read_page("http://a.org/x", links(10))
    some, twice = (num_calls(read_page, "http://a.org/x", links(count)) for count in (5_000, 10_000))
    assert twice < 2.2 * some


def test_a_page_that_is_too_large_is_not_read_to_its_end(site):
    site.route("/a", endless("text/html", b"<p>" * 20_000))
    with pytest.raises(AriaDataError) as caught:
        found_at(a_web(max_page_bytes=3_000_000), "page", site.address("/a"))
    assert kind_of(caught.value) == "network"


FEEDS = {
    "billion laughs": '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1 if n > 1 else str()};" * 10}">' for n in range(1, 10))
    + "]><rss><channel><item><title>&lol9;</title><enclosure url='/a.flac' type='audio/flac'/></item></channel></rss>",
    "an external entity": '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<rss><channel><item><title>&x;</title><enclosure url='/a.flac' type='audio/flac'/></item></channel></rss>",
    "an external document type": '<?xml version="1.0"?><!DOCTYPE rss SYSTEM "/evil.dtd">'
    "<rss><channel><item><title>x</title><enclosure url='/a.flac' type='audio/flac'/></item></channel></rss>",
    "no end": "<rss><channel>" + "<item><title>x" * 20_000,
    "deep": "<rss><channel><item>" + "<b>" * 100_000,
    "odd values": "<rss><channel><item><title><![CDATA[\0\x1b[31m]]></title><enclosure url='javascript:1' "
    "type='audio/x' length='-1'/><itunes:duration>x:y:z</itunes:duration></item></channel></rss>",
    "a long address": f"<rss><channel><item><enclosure url='http://a/{'x' * 999_999}' type='audio/x'/>"
    "</item></channel></rss>",
    "many entries": "<rss><channel>"
    + "<item><enclosure url='/a.flac' type='audio/flac'/></item>" * 5000
    + "</channel></rss>",
    "not one": "<html>",
    "nothing": "",
}


@pytest.mark.timeout(200)  # a guard against hanging: two seconds are expected of the deep one
@pytest.mark.parametrize("name", FEEDS)
def test_no_feed_reads_files_asks_others_or_takes_for_ever(site, name):
    site.add("/feed", FEEDS[name], "application/rss+xml")
    candidates, _, kind = tried(a_web(), "feed", site.address("/feed"), limit=50)
    assert kind in ("", "unsupported")
    assert "/evil.dtd" not in site.hits
    assert len(candidates) <= 50
    assert "root:" not in str(candidates)
    assert all(len(one.title) <= 500 and len(one.location) < 2100 for one in candidates)
    assert "\0" not in str(candidates)
    assert set(site.hits) <= {"/feed", "/robots.txt", "/.well-known/tdmrep.json"}


def test_entries_of_a_podcast_that_all_link_to_its_home_page_are_different_candidates(site):
    items = "".join(
        f"<item><title>{n}</title><link>{site.address('/')}</link><enclosure url='/{n}.mp3' type='audio/mpeg'/></item>"
        for n in range(3)
    )
    body = f"<rss><channel><title>x</title><link>{site.address('/')}</link>{items}</channel></rss>"
    candidates, _ = found_at(a_web(), "feed", site.add("/feed", body, "application/rss+xml"))
    assert len({one.candidate_id for one in candidates}) == 3
    assert {one.source_url for one in candidates} == {site.address(f"/{n}.mp3") for n in range(3)}


def test_a_page_without_audio_is_asked_for_once(site):
    page = site.add_page("/a.html", "About", links=["/b.html"])
    found_at(a_web(), "page", page)
    moved = site.route("/old.html", redirect("/a.html"))
    found_at(a_web(), "page", moved)
    assert (site.hits["/old.html"], site.hits["/a.html"]) == (1, 2)


def test_a_feed_gives_its_entries_with_what_it_says_of_them(site):
    url = site.add_feed("/feed", [("One", "/1.flac"), ("Two", "/2.flac")], title="Clara plays")
    candidates, _ = found_at(a_web(), "feed", url)
    assert [(one.title, one.uploader, one.num_bytes) for one in candidates] == [
        ("One", "Clara plays", 9),
        ("Two", "Clara plays", 9),
    ]


ROWS = """url,title,description,licence,duration_s,extra
http://a.org/1.flac,One,Live,CC0,61,x
http://a.org/2.html,,,,,
http://a.org/3.html,Three,,,3:05,
file:///etc/passwd,Four,,,,
,Five,,,,
http://a.org/6.flac,"Six
lines\x00\x1b[31m",,,nonsense,
"""


def test_a_list_gives_candidates_leads_and_loses_no_row(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(ROWS)
    candidates, leads = found_at(a_web(), "list", str(path))
    assert [one.title.split("\n")[0] for one in candidates] == ["One", "Three", "Four", "Five", "Six"]
    assert [one.announced_duration_s for one in candidates] == [61, 185, None, None, None]
    assert [each.target for each in leads] == ["http://a.org/2.html"]
    assert len({one.candidate_id for one in candidates}) == 5
    assert not [one for one in candidates if one.location.startswith("file:")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"url": "http://a.org/1.flac", "title": ["x"]}\n"http://a.org/2.flac"\n[1]\nno json\n{"url": {}}'),
        ("a.jsonl", '{"url": "http://a.org/\\ud800.flac", "title": "\\ud800"}\n"\\ud800"'),
        ("a.txt", "# mine\nhttp://a.org/1.flac\n\n  http://a.org/2.flac  \nnonsense\n\x00\x00\n" + "x" * 3_000_000),
        ("a.csv", "title,address\n" + "x," * 5000 + "\n" + '"' * 10_001),
        ("a.tsv", "url\ttitle\nhttp://a.org/1.flac\tOne\tTwo\tThree\n\n\t\t\n"),
        ("a.jsonl", "[" * 100_000),
        ("a.txt", ""),
    ],
)  # fmt: skip
def test_no_list_is_too_odd(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    candidates, _, _ = tried(a_web(), "list", str(path))
    assert all("\0" not in str(astuple(one)) and len(one.location) < 3000 for one in candidates)
