"""The frontier, sources that read hostile pages, and a crawl over a real site, killed and continued."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, SUPPORT
from web_server import Answer, Handler, Site, endless, redirect, sound, status
from work import num_calls

from aria_data.collect import Crawl, CrawlConfig, CrawlSummary, Frontier
from aria_data.collect import crawl as module
from aria_data.collect.frontier import MAX_TRIES, Followed, Seen
from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.collect.sources.html import MAX_LINKS, read_page
from aria_data.errors import AriaDataError, DatasetCorrupt, DatasetNotWritable, UsageError
from aria_data.records import Attempt, Candidate, Download, Screening
from aria_data.screen import ScreenConfig, screen
from aria_data.storage import exclusive_lock
from aria_data.storage.stage_tables import StageTable
from aria_data.web import OptOuts, RequestBudget, Web, WebConfig, kind_of
from flows.show.crawl_tree import draw

CHILD = SUPPORT / "crawl_child.py"


@pytest.fixture
def site():
    with Site() as site:
        yield site


def a_web(budget: int = 0, **more) -> Web:
    given = {"allow_hosts": ("127.0.0.1",), "min_interval_s": 0.0, "jitter": 0.0, "max_failures": 1000, **more}
    return Web(WebConfig(**given), RequestBudget(budget))


# The frontier


@pytest.fixture
def frontier(tmp_path):
    frontier = Frontier(tmp_path / "frontier.sqlite")
    yield frontier
    frontier.close()


def lead(target: str, priority: float = 1.0, **more) -> Lead:
    return Lead("page", target, priority=priority, **more)


def test_the_most_promising_lead_comes_first_then_the_nearest_then_the_oldest(frontier):
    frontier.add_seeds([lead("a", 0.5), lead("b", 0.9), lead("c", 0.9, depth=1), lead("d", 0.9)])
    assert [one.target for one in frontier.next_leads(9, 5, 0)] == ["b", "d", "c", "a"]


def test_a_lead_waits_until_its_round_is_finished_and_never_comes_again(frontier):
    frontier.add_seeds([lead("a")])
    assert frontier.next_leads(9, 5, 0) == frontier.next_leads(9, 5, 0)
    frontier.finish_round([Followed(lead("a"))], 0)
    assert frontier.next_leads(9, 5, 1e12) == []
    assert frontier.add_seeds([lead("a")]) == 0
    assert frontier.next_leads(9, 5, 1e12) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.org/x", "HTTP://A.org:80/x#top"), ("http://a.org", "http://a.org/"),
        ("http://a.org/?b=1&a=2", "http://a.org/?a=2&b=1&utm_source=x"), ("http://a.org/x", "http://a.org./x"),
    ],
)  # fmt: skip
def test_two_spellings_of_an_address_are_one_lead(frontier, one, other):
    assert frontier.add_seeds([lead(one), lead(other)]) == 1


def test_a_lead_that_failed_for_a_passing_reason_waits_and_ends_after_so_many_tries(frontier):
    frontier.add_seeds([lead("a")])
    for number in range(MAX_TRIES):
        now = number * 1000.0
        (one,) = frontier.next_leads(9, 5, now)
        frontier.finish_round([Followed(one, kind="network", detail="cut", is_temporary=True)], now, retry_s=600)
        assert frontier.next_leads(9, 5, now + 599) == []
    assert frontier.next_leads(9, 5, 1e12) == []
    assert frontier.counts()["failed"] == 1
    assert frontier.failures() == [("page: a", "network", "cut")]


def test_a_lead_whose_failure_is_for_good_is_not_tried_again(frontier):
    frontier.add_seeds([lead("a")])
    frontier.finish_round([Followed(lead("a"), kind="gone", detail="404")], 0)
    assert (frontier.next_leads(9, 5, 1e12), frontier.counts()["failed"]) == ([], 1)


def test_a_site_that_fills_the_frontier_steps_back_behind_a_new_one(frontier):
    frontier.add_seeds([lead("http://big.org/")])
    many = [lead(f"http://big.org/{number}", 0.8, depth=1) for number in range(50)]
    few = [lead("http://small.org/1", 0.7, depth=1)]
    frontier.finish_round([Followed(lead("http://big.org/"), leads=[*many, *few])], 0)
    order = [one.target for one in frontier.next_leads(99, 5, 0)]
    assert order.index("http://small.org/1") < 5


def test_seeds_and_feeds_are_looked_at_again_after_a_while_and_pages_are_not(frontier):
    seed = lead("http://a.org/")
    frontier.add_seeds([seed])
    found = [lead("http://a.org/x", depth=1, discovered_via="x"), Lead("feed", "http://a.org/f", 1, 1.0, "x")]
    frontier.finish_round([Followed(seed, leads=found)], 100)
    frontier.finish_round([Followed(one) for one in found], 100)
    assert frontier.revisit(before=100) == 0
    assert frontier.revisit(before=101) == 2
    assert {one.target for one in frontier.next_leads(9, 5, 200)} == {"http://a.org/", "http://a.org/f"}


def test_a_round_is_written_whole_or_not_at_all(frontier):
    frontier.add_seeds([lead("a")])
    broken = Followed(lead("a"), candidates=[Seen("x", "x", "t", 5, True), Seen("y", "y", object(), 5, True)])
    with pytest.raises(sqlite3.Error):
        frontier.finish_round([broken], 0, ["a line"])
    assert (frontier.counts()["seen"], frontier.num_in_outbox(), len(frontier.next_leads(9, 5, 0))) == (0, 0, 1)


names = st.integers(0, 12).map(lambda number: f"http://h{number % 3}.org/{number}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, st.lists(names, max_size=4), st.sampled_from(["", "gone", "network"])), max_size=12))
def test_no_lead_is_ever_followed_to_its_end_twice_and_the_order_is_fixed(tmp_path, graph):
    """Whatever leads to whatever and fails however: the same run twice gives the same walk, each lead ended once."""
    links = {source: (targets, kind) for source, targets, kind in graph}

    def walk() -> tuple[list[str], list[tuple]]:
        path = tmp_path / f"{random.random()}.sqlite"
        frontier, walked, now = Frontier(path), [], 0.0
        frontier.add_seeds([lead("http://h0.org/0")])
        while leads := frontier.next_leads(2, 6, now):
            followed = []
            for one in leads:
                targets, kind = links.get(one.target, ([], ""))
                found = [lead(target, 0.9, depth=one.depth + 1, discovered_via="x") for target in targets]
                followed.append(Followed(one, leads=found, kind=kind, is_temporary=kind == "network"))
                walked.append(one.target)
            frontier.finish_round(followed, now)
            now += 1000
        tree = list(frontier.tree())
        frontier.close()
        return walked, tree

    walked, tree = walk()
    assert walk() == (walked, tree)
    for target, count in Counter(walked).items():
        assert count == (MAX_TRIES if links.get(target, ([], ""))[1] == "network" else 1)
    assert {row[3] for row in tree} <= {"done", "failed"}


def test_a_damaged_frontier_says_so_in_one_line_and_how_to_go_on(tmp_path):
    path = tmp_path / "frontier.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatasetCorrupt, match="damaged.*delete it"):
        Frontier(path)


@pytest.mark.parametrize("place", [200, 5000, 9000])
def test_a_frontier_damaged_inside_is_found_out_and_never_a_traceback(tmp_path, place):
    path = tmp_path / "frontier.sqlite"
    frontier = Frontier(path)
    frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(200)])
    frontier.close()
    content = bytearray(path.read_bytes())
    content[place : place + 3000] = os.urandom(3000)
    path.write_bytes(content)
    with suppress(DatasetCorrupt):
        frontier = Frontier(path)
        with closing(frontier):
            frontier.next_leads(500, 5, 0)
            frontier.counts()
            list(frontier.tree())
            frontier.failures()
            frontier.add_seeds([lead("http://a.org/new")])


@pytest.mark.parametrize("do", ["next_leads", "add_seeds", "finish_round", "outbox", "counts", "tree"])
def test_a_frontier_whose_tables_are_damaged_is_found_out_whatever_is_done(tmp_path, do):
    path = tmp_path / "frontier.sqlite"
    frontier = Frontier(path)
    frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(500)])
    frontier.finish_round([Followed(lead("http://a.org/1"))], 0, ["a line"] * 500)
    frontier.close()
    content = bytearray(path.read_bytes())
    for start in range(4096 * 1, len(content), 4096):  # every page but the schema's
        content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    calls = {
        "next_leads": lambda one: one.next_leads(500, 5, 0),
        "add_seeds": lambda one: one.add_seeds([lead("http://a.org/new")]),
        "finish_round": lambda one: one.finish_round([Followed(lead("http://a.org/2"))], 0),
        "outbox": lambda one: one.outbox(9),
        "counts": lambda one: one.counts(),
        "tree": lambda one: list(one.tree()),
    }
    with pytest.raises(DatasetCorrupt, match="damaged"), closing(Frontier(path)) as frontier:
        calls[do](frontier)


def test_a_full_disk_is_not_called_a_damaged_frontier(frontier):
    frontier._db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(DatasetNotWritable):
        frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(5000)])
    assert frontier.next_leads(9, 5, 0) == []
    frontier._db.execute("PRAGMA max_page_count = 100000")
    assert frontier.add_seeds([lead("http://a.org/")]) == 1


def test_a_lead_that_waits_because_the_clock_was_wrong_does_not_wait_for_years(frontier):
    frontier.add_seeds([lead("a")])
    frontier.finish_round([Followed(lead("a"), kind="network", is_temporary=True)], now=5e9)
    assert len(frontier.next_leads(9, 5, now=1e9)) == 1


def test_a_folder_where_the_frontier_should_be_is_the_datasets_trouble(tmp_path):
    (tmp_path / "frontier.sqlite").mkdir()
    with pytest.raises(DatasetNotWritable):
        Frontier(tmp_path / "frontier.sqlite")


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


# The snowball


@dataclass
class World:
    """What a crawl needs besides a site: the frontier, the rules as the judge, and what it was given."""

    path: Path
    web: Web
    judged: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    now: float = 1e9

    def crawl(self, **settings) -> CrawlSummary:
        more = {name: settings.pop(name) for name in ("licences", "is_left_alone", "screen") if name in settings}
        limits = {"max_candidates": 0, "max_requests": 0, "max_minutes": 0.0, "max_depth": 0, **settings}
        if limits["max_requests"]:
            self.web.budget.max_requests = self.web.budget.num_requests + limits["max_requests"]
        frontier = Frontier(self.path)
        given = {"screen": self.screen, **more}
        try:
            return Crawl(
                CrawlConfig(**limits), frontier, self.web, pack=lambda one, screening: one.candidate_id,
                export=self.exported.extend, clock=lambda: self.now, **given,
            ).run()  # fmt: skip
        finally:
            frontier.close()

    def screen(self, candidates):
        self.judged += [one.candidate_id for one in candidates]
        return {one.candidate_id: screen(one, ScreenConfig()) for one in candidates}, ""

    def rows(self, sql: str) -> list[tuple]:
        with sqlite3.connect(self.path) as db:
            found = db.execute(sql).fetchall()
        db.close()
        return found

    def titles(self) -> set[str]:
        return {title for (title,) in self.rows("SELECT title FROM seen")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "frontier.sqlite", a_web())


def snow_site(site: Site, num_items: int = 500) -> tuple[set[str], set[str]]:
    """Linked items, each with two links on and one back. Every seventh is no piano, and is a dead end.

    Gives the titles that a crawl from item 0 must see, and those of them that it accepts.
    """
    is_piano = [number % 7 != 3 for number in range(num_items)]
    title = [f"{'Sonata for solo piano' if piano else 'Violin concerto'} no. {n}" for n, piano in enumerate(is_piano)]
    links = [[n for n in (2 * number + 1, 2 * number + 2, number // 3) if n < num_items] for number in range(num_items)]
    for number in range(num_items):
        site.add_page(f"/{number}.html", title[number], [f"/{number}.flac"], [f"/{n}.html" for n in links[number]])
    seen, waiting = {0}, [0]
    while waiting:
        for one in links[waiting.pop()]:
            if one not in seen:
                seen.add(one)
                waiting += [one] if is_piano[one] else []
    return {title[n] for n in seen}, {title[n] for n in seen if is_piano[n]}


def test_a_snowball_sees_exactly_what_can_be_reached_through_what_it_accepts(site, world):
    must_see, must_accept = snow_site(site)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert world.titles() == must_see
    assert {title for (title,) in world.rows("SELECT title FROM seen WHERE is_accepted")} == must_accept
    assert (summary.stopped_by, summary.num_new, summary.num_accepted) == ("frontier", len(must_see), len(must_accept))
    assert 100 < len(must_see) < 500
    assert max(site.hits.values()) == 1
    assert sorted(world.exported) == sorted(world.judged)
    assert len(world.judged) == len(set(world.judged)) == len(must_see)


def test_a_second_run_asks_for_nothing_and_judges_nothing(site, world):
    snow_site(site, 60)
    world.crawl(seeds=(site.address("/0.html"),))
    asked, judged = sum(site.hits.values()), len(world.judged)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (sum(site.hits.values()), len(world.judged), summary.num_leads) == (asked, judged, 0)


def test_a_crawl_in_small_steps_finds_the_same_as_one_in_one_go(site, world, tmp_path):
    must_see, _ = snow_site(site, 40)
    for _ in range(200):
        summary = world.crawl(seeds=(site.address("/0.html"),), max_candidates=7)
        assert summary.num_new <= 7
        if summary.stopped_by == "frontier":
            break
    assert world.titles() == must_see
    assert len(world.judged) == len(must_see)


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 50])
def test_a_budget_of_candidates_is_kept_to_the_one(site, world, limit):
    snow_site(site, 120)
    summary = world.crawl(seeds=(site.address("/0.html"),), max_candidates=limit)
    assert (summary.num_new, summary.stopped_by, len(world.exported)) == (limit, "candidates", limit)


@pytest.mark.parametrize("limit", [1, 3, 10, 37])
def test_a_budget_of_requests_is_kept_to_the_one(site, world, limit):
    snow_site(site, 120)
    summary = world.crawl(seeds=(site.address("/0.html"),), max_requests=limit)
    assert (summary.num_requests, sum(site.hits.values()), summary.stopped_by) == (limit, limit, "requests")


@pytest.mark.slow
def test_what_a_budget_of_requests_cut_is_made_good_by_the_next_runs(site, world):
    must_see, _ = snow_site(site, 30)
    for _ in range(100):
        if world.crawl(seeds=(site.address("/0.html"),), max_requests=7).stopped_by == "frontier":
            break
    assert world.titles() == must_see
    assert max(count for path, count in site.hits.items() if path.endswith(".html")) == 1


def test_a_budget_of_minutes_ends_a_crawl_after_its_round(site, world):
    snow_site(site, 120)
    real = world.screen

    def slowly(candidates):
        world.now += 61
        return real(candidates)

    summary = world.crawl(seeds=(site.address("/0.html"),), max_minutes=2.0, screen=slowly)
    assert (summary.stopped_by, summary.num_leads) == ("minutes", 1 + 2)


def test_every_candidate_and_lead_says_where_it_came_from_and_the_tree_shows_it(site, tmp_path):
    snow_site(site, 40)
    world = World(tmp_path / "crawl" / "frontier.sqlite", a_web())
    seed = site.address("/0.html")
    world.crawl(seeds=(seed,))
    parents = dict(world.rows("SELECT lead_id, parent FROM leads"))
    assert [one for one, parent in parents.items() if not parent] == [f"page:{seed}"]
    for one in parents:
        steps = 0
        while parents[one]:
            one, steps = parents[one], steps + 1
            assert steps < 50
    assert [via for via, depth in world.rows("SELECT via, depth FROM leads") if bool(via) != bool(depth)] == []
    lines = list(draw(tmp_path, "text", show_rejected=True))
    assert lines[0].startswith(f"page: {seed}")
    assert sum(" + 5 web-" in line for line in lines) == len(world.rows("SELECT 1 FROM seen WHERE is_accepted"))
    assert sum(" - 1 web-" in line for line in lines) == len(world.rows("SELECT 1 FROM seen WHERE NOT is_accepted"))
    rows = [json.loads(line) for line in draw(tmp_path, "json", show_rejected=True)]
    assert sum(len(row["candidates"]) for row in rows) == len(world.titles())
    dot = "\n".join(draw(tmp_path, "dot"))
    assert dot.count("->") == len([parent for parent in parents.values() if parent]) + len(
        world.rows("SELECT 1 FROM seen WHERE is_accepted")
    )


def test_a_title_cannot_break_the_tree(tmp_path, site):
    evil = 'x"]; evil -> graph; [label="\\\n\x1b[31m solo piano'
    world = World(tmp_path / "crawl" / "frontier.sqlite", a_web())
    world.crawl(seeds=(site.add_page("/a", evil, ["/a.flac"]),))
    for format_ in ("text", "dot", "json"):
        lines = list(draw(tmp_path, format_, show_rejected=True))
        assert not [line for line in lines if "\x1b" in line or "\n" in line]
    (label,) = [line for line in draw(tmp_path, "dot", show_rejected=True) if "label=" in line and "solo" in line]
    assert json.loads(label.split("label=", 1)[1].rpartition(", shape")[0]).startswith("5 x")


def calendar(site: Site, title: str) -> None:
    """A page for every month there will ever be, each linking to the next two."""

    def month(handler: Handler) -> None:
        number = int(handler.path.rpartition("=")[2] or 0)
        body = f"<title>{title} {number}</title>" + "".join(
            f'<a href="/calendar?month={n}">more</a>' for n in (number * 2 + 1, number * 2 + 2)
        )
        handler.give(200, body.encode())

    site.route("/calendar", month)


def test_a_calendar_without_end_is_left_at_the_depth_allowed(site, world):
    calendar(site, "Events")
    summary = world.crawl(seeds=(site.address("/calendar?month=0"),), max_depth=4)
    assert (summary.stopped_by, sum(path.startswith("/calendar") for path in site.hits)) == ("frontier", 2**5 - 1)


@pytest.mark.slow
def test_a_calendar_without_end_does_not_keep_a_crawl_from_what_is_good(site, world):
    calendar(site, "Events")
    site.add_page("/0.html", "Piano recitals", links=["/calendar?month=0", *(f"/p{n}.html" for n in range(30))])
    for number in range(30):
        site.add_page(f"/p{number}.html", f"Solo piano {number}", [f"/p{number}.flac"])
    world.crawl(seeds=(site.address("/0.html"),), max_requests=70)
    assert len(world.titles()) == 30


def test_loops_of_links_and_redirects_end(site, world):
    site.add_page("/a", "Solo piano a", ["/a.flac"], ["/b", "/a?utm_source=b", "/loop", "/again?n=0"])
    site.add_page("/b", "Solo piano b", ["/b.flac"], ["/a", "/b", "/a#x"])
    site.route("/loop", redirect("/loop"))
    counter = iter(range(1, 10**6))
    site.route("/again", lambda handler: handler.give(302, b"", location=f"/again?n={next(counter)}"))
    summary = world.crawl(seeds=(site.address("/a"),))
    assert (summary.stopped_by, world.titles()) == ("frontier", {"Solo piano a", "Solo piano b"})
    assert summary.failures == {"unsupported": 2}
    assert sum(count for path, count in site.hits.items() if path.startswith(("/again", "/loop"))) < 30


def test_one_page_under_many_names_is_one_candidate(site, world):
    links = [f"/x.html?utm_source={n}" for n in range(5)] + [f"/x.html?phpsessid={n}" for n in range(5)]
    site.add_page("/0.html", "Piano", links=[*links, "/y1.html", "/y2.html"])
    site.add_page("/x.html", "Solo piano x", ["/x.flac"])
    head = f'<link rel="canonical" href="{site.address("/y.html")}">'
    for name in ("y1", "y2"):
        site.add_page(f"/{name}.html", "Solo piano y", ["/y.flac"], head=head)
    world.crawl(seeds=(site.address("/0.html"),))
    assert len(world.judged) == 2
    assert sum(count for path, count in site.hits.items() if path.startswith("/x.html")) == 1


def test_who_opted_out_is_neither_judged_nor_stored_nor_followed(site, world):
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"], ["/c.html"])
    site.add_page("/b.html", "Solo piano b", ["/b.flac"])
    site.add_page("/c.html", "Solo piano c", ["/c.flac"])
    opt_outs = OptOuts()
    opt_outs.add([(site.address("/a.html"), "asked")])
    world.crawl(seeds=(site.address("/0.html"),), is_left_alone=lambda one: opt_outs.reason_for(one) is not None)
    assert world.titles() == {"Solo piano b"}
    assert len(world.judged) == 1
    assert site.hits["/c.html"] == 0


@pytest.mark.parametrize("entry", ["/a.html", "domain:127.0.0.1"])
def test_an_address_that_opted_out_is_not_even_asked_for(site, world, entry):
    site.add_page("/0.html", "Piano", links=["/a.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    opt_outs = OptOuts()
    opt_outs.add([(entry if ":" in entry else site.address(entry), "asked")])
    summary = world.crawl(
        seeds=(site.address("/0.html"),), is_left_alone=lambda one: opt_outs.reason_for(one) is not None
    )
    assert (site.hits["/a.html"], summary.failures, world.titles()) == (0, {"opted-out": 1}, set())


def test_a_page_that_the_program_cannot_take_does_not_end_the_crawl(site, world, monkeypatch):
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    site.add_page("/b.html", "Solo piano b", ["/b.flac"])
    real = module.follow

    def follow_(lead, web, limit):
        if lead.target.endswith("/a.html"):
            raise ZeroDivisionError("oops")
        return real(lead, web, limit)

    monkeypatch.setattr(module, "follow", follow_)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (world.titles(), summary.failures) == ({"Solo piano b"}, {"network": 1})
    assert "unexpected ZeroDivisionError" in summary.lines[0]


def test_what_has_another_licence_than_allowed_leads_nowhere(site, world):
    free = '<link rel="license" href="https://creativecommons.org/publicdomain/zero/1.0/">'
    bound = '<meta name="copyright" content="x"><link rel="license" href="http://a.org/all-rights-reserved">'
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"], ["/c.html"], free)
    site.add_page("/b.html", "Solo piano b", ["/b.flac"], ["/d.html"], bound)
    site.add_page("/c.html", "Solo piano c", ["/c.flac"], head=free)
    site.add_page("/d.html", "Solo piano d", ["/d.flac"], head=free)
    world.crawl(seeds=(site.address("/0.html"),), licences=("cc0",))
    accepted = {title for (title,) in world.rows("SELECT title FROM seen WHERE is_accepted")}
    assert accepted == {"Solo piano a", "Solo piano c"}
    assert site.hits["/d.html"] == 0


def test_robots_txt_and_reservations_keep_a_crawl_out(site, world):
    site.add("/robots.txt", "User-agent: *\nDisallow: /secret", "text/plain")
    site.add_page("/0.html", "Piano", links=["/secret/a.html", "/b.html", "/c.html"])
    site.add_page("/secret/a.html", "Solo piano a", ["/a.flac"])
    site.add("/b.html", "<title>Solo piano b</title><audio src='/b.flac'>", tdm_reservation="1")
    site.add_page("/c.html", "Solo piano c", ["/c.flac"], head='<meta name="robots" content="noai">')
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (world.titles(), summary.failures, site.hits["/secret/a.html"]) == (set(), {"robots": 3}, 0)


def test_a_page_that_fails_is_tried_in_a_later_run_and_found_then(site, world):
    site.add_page("/0.html", "Piano", links=["/a.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    site.once("/a.html", status(503))
    first = world.crawl(seeds=(site.address("/0.html"),))
    assert (first.stopped_by, first.failures, world.titles()) == ("resting", {"network": 1}, set())
    world.now += 700
    assert world.crawl(seeds=(site.address("/0.html"),)).stopped_by == "frontier"
    assert (world.titles(), site.hits["/a.html"], site.hits["/0.html"]) == ({"Solo piano a"}, 2, 1)


def test_a_judge_that_is_away_loses_no_candidate(site, world):
    site.add_page("/0.html", "Solo piano", ["/a.flac"])
    first = world.crawl(seeds=(site.address("/0.html"),), screen=lambda candidates: ({}, ""))
    assert (first.num_new, first.stopped_by, world.titles()) == (0, "resting", set())
    world.now += 700
    world.crawl(seeds=(site.address("/0.html"),))
    assert world.titles() == {"Solo piano"}


def test_a_clock_that_goes_back_loses_nothing(site, world):
    must_see, _ = snow_site(site, 40)
    real = world.screen

    def backwards(candidates):
        world.now -= 50_000
        return real(candidates)

    world.crawl(seeds=(site.address("/0.html"),), screen=backwards, max_minutes=60.0)
    assert world.titles() == must_see


def test_seeds_are_looked_at_again_after_a_week_and_only_what_is_new_is_judged(site, world):
    site.add_feed("/feed", [("Solo piano 1", "/1.flac")])
    seed = f"feed:{site.address('/feed')}"
    world.crawl(seeds=(seed,))
    site.add_feed("/feed", [("Solo piano 2", "/2.flac"), ("Solo piano 1", "/1.flac")])
    world.now += 86_400
    world.crawl(seeds=(seed,))
    assert (site.hits["/feed"], len(world.judged)) == (1, 1)
    world.now += 7 * 86_400
    world.crawl(seeds=(seed,))
    assert (site.hits["/feed"], len(world.judged), world.titles()) == (2, 2, {"Solo piano 1", "Solo piano 2"})


def test_a_bad_seed_is_refused_before_anything_is_asked(site, world):
    for seed in ("nonsense", "ftp://a.org/", "nosuch:thing", "page:", "../../etc:passwd"):
        with pytest.raises(UsageError):
            world.crawl(seeds=(site.address("/a"), seed))
    assert not site.hits


def test_an_export_that_fails_is_made_good_by_the_next_run(site, world):
    site.add_page("/0.html", "Solo piano", ["/a.flac"])

    def full(lines):
        raise DatasetNotWritable("no space left")

    real, world.exported = world.exported, type("Full", (list,), {"extend": lambda self, lines: full(lines)})()
    with pytest.raises(DatasetNotWritable):
        world.crawl(seeds=(site.address("/0.html"),))
    world.exported = real
    world.crawl(seeds=(site.address("/0.html"),))
    assert len(world.exported) == len(world.judged) == 1


# Killed


class Children:
    """Real processes that crawl and fetch, one after another; see `crawl_child.py`."""

    def __init__(self, seed: str, out: Path):
        self.out = out
        self._parent = subprocess.Popen(
            [sys.executable, str(CHILD), seed, str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{SUPPORT}"},
        )  # fmt: skip

    def run(self, kill_after_s: float | None = None) -> int:
        """Run one, kill it if it should be, and give how it ended."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write("run\n")
        self._parent.stdin.flush()
        process = int(self._parent.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(process, signal.SIGKILL)
        return int(self._parent.stdout.readline())

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=300)  # a guard against hanging


def read_frontier(out: Path, sql: str) -> list[tuple]:
    """Rows of a frontier that a kill left, read from a copy: nobody mends it but the next run."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (out / "crawl").glob("frontier.sqlite*"):
            shutil.copy(path, folder)
        db = sqlite3.connect(Path(folder) / "frontier.sqlite")
        try:
            return db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []  # it was killed before there were tables
        finally:
            db.close()


def state_of(out: Path) -> dict[str, Any]:
    """What a crawl and its downloads left: leads, candidates, tables, audio on disk."""
    latest = {outcome.item_id: outcome.record for outcome in StageTable(out, "download", Download).all()}
    return {
        "leads": read_frontier(out, "SELECT target, parent, state, depth, priority, num_new, num_accepted FROM leads"),
        "seen": read_frontier(out, "SELECT * FROM seen"),
        "outbox": read_frontier(out, "SELECT * FROM outbox"),
        "collected": {one.item_id: one.record.title for one in StageTable(out, "collect", Candidate).all()},
        "screened": {one.item_id: one.record.relevance_score for one in StageTable(out, "screen", Screening).all()},
        "fetched": {key: replace(record, fetched_at="") for key, record in latest.items()},
        "audio": sorted(str(path.relative_to(out)) for path in (out / "audio").rglob("*") if path.is_file()),
    }


def site_to_kill(site: Site) -> str:
    """Forty linked items, each answer taking long enough for a kill to meet it."""
    _, accepted = snow_site(site, 40)
    for title in accepted:
        number = int(title.rpartition(" ")[2])
        site.add_audio(f"/{number}.flac", seconds=2, number=number)
    site.routes = {path: slowly(answer) for path, answer in site.routes.items()}
    return site.address("/0.html")


def slowly(answer: Answer) -> Answer:
    def later(handler: Handler) -> None:
        time.sleep(0.02)
        answer(handler)

    return later


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_crawl_killed_at_random_moments_ends_with_the_same_and_asks_nothing_twice(num_kills, site, tmp_path):
    seed, killed = site_to_kill(site), tmp_path / "killed"
    with Children(seed, tmp_path / "whole") as children:
        assert children.run(kill_after_s=0) == -signal.SIGKILL  # the first pays for imports
        began = time.monotonic()
        assert children.run() == 0
        length_s = time.monotonic() - began
    whole = state_of(tmp_path / "whole")
    path_of = {key: urlsplit(record.fetched_from).path for key, record in whole["fetched"].items()}
    assert len(path_of) > 15
    site.hits.clear()
    moments, finished = random.Random(5), {}  # path -> how often it was asked when it was found finished
    with Children(seed, killed) as children:
        for number in range(num_kills):
            latest_s = length_s * (0.1 + 0.4 * number / num_kills)
            ended = children.run(kill_after_s=moments.uniform(0, latest_s))
            assert ended in (0, -signal.SIGKILL)
            done = [
                urlsplit(key).path for (key,) in read_frontier(killed, "SELECT target FROM leads WHERE state = 'done'")
            ]
            done += [path_of[path.stem] for path in (killed / "audio").rglob("*.flac")]
            for path in done:
                finished.setdefault(path, site.hits[path])
        assert children.run() == 0
    assert state_of(killed) == whole
    again = {path: site.hits[path] for path in finished if site.hits[path] != finished[path]}
    assert again == {}
    asked = Counter({path: count for path, count in site.hits.items() if path.endswith((".html", ".flac"))})
    assert asked.keys() == {*path_of.values(), *(urlsplit(row[0]).path for row in whole["leads"])}
    attempts = Counter(one.item_id for one in StageTable(killed, "attempts", Attempt).all())
    assert all(attempts[key] <= asked[path] for key, path in path_of.items())


def test_two_crawls_of_one_dataset_do_not_run_at_once(site, tmp_path):
    seed = site_to_kill(site)
    with Children(seed, tmp_path / "out") as children, exclusive_lock(tmp_path / "out" / ".lock"):
        assert children.run() == 1
    assert not site.hits
