"""Nothing that a seed lists is cut in silence: feeds, pages, their next pages, sitemaps."""

from __future__ import annotations

import gzip
import json

import pytest
from web_server import Site

from aria_data.collect import Crawl, CrawlConfig, Frontier
from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead, LeftOut
from aria_data.records import Screening
from aria_data.web import RequestBudget, Web, WebConfig


@pytest.fixture
def site():
    with Site() as site:
        yield site


def a_web() -> Web:
    return Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, jitter=0.0), RequestBudget())


def crawled(tmp_path, seed: str, **limits):
    """Crawl; gives (summary, titles that were screened, leads of which something was left out)."""
    titles = []

    def screen(candidates):
        titles.extend(one.title for one in candidates)
        return {one.candidate_id: Screening(one.candidate_id, 5, "rules", "", "") for one in candidates}, ""

    frontier = Frontier(tmp_path / "frontier.sqlite")
    config = CrawlConfig(seeds=(seed,), leads_at_once=1, **limits)
    summary = Crawl(config, frontier, a_web(), screen, lambda one, found: "{}", lambda lines: None).run()
    left_out = frontier.left_out()
    frontier.close()
    return summary, titles, left_out


def feed_of(site: Site, path: str, count: int) -> str:
    return site.add_feed(path, [(f"Nocturne {n}", f"/{n}.flac") for n in range(count)])


def test_a_seed_is_taken_whole_beyond_what_is_taken_of_other_leads(site, tmp_path):
    _, titles, left_out = crawled(tmp_path, feed_of(site, "/feed", 250), max_candidates=1000)
    assert (len(set(titles)), left_out) == (250, [])


def test_what_a_budget_leaves_of_a_seed_comes_in_the_next_runs(site, tmp_path):
    seed, found = feed_of(site, "/feed", 25), []
    for _ in range(3):
        summary, titles, _ = crawled(tmp_path, seed, max_candidates=10)
        found += titles
    assert (len(found), len(set(found)), summary.stopped_by) == (25, 25, "frontier")


def test_what_is_left_out_of_another_lead_is_a_row(site, tmp_path):
    feed_of(site, "/feed", 250)
    head = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    summary, titles, left_out = crawled(tmp_path, site.add_page("/", "Podcasts", head=head))
    assert len(titles) == 100
    assert left_out == [(f"feed: {site.address('/feed')}", "left out: 150 of 250 entries")]
    assert any("150 of 250" in line for line in summary.lines)


@pytest.mark.parametrize("how", ["head", "anchor"])
def test_the_next_pages_of_a_list_belong_to_it_however_many_there_are(site, tmp_path, how):
    for number in range(12):
        link = f'<{"link" if how == "head" else "a"} rel="next" href="/p{number + 1}.html">' if number < 11 else ""
        site.add(f"/p{number}.html", f"<title>List</title>{link}</a><a href='/{number}.mp3'>Nocturne {number}</a>")
    _, titles, _ = crawled(tmp_path, site.address("/p0.html"), max_depth=2)
    assert len(titles) == 12


def test_next_pages_that_bring_nothing_new_end(site, tmp_path):
    def page(handler):
        number = int(handler.path.rpartition("=")[2])
        body = f"<title>Nocturne</title><a rel=next href='/list?n={number + 1}'>x</a><audio src='/a.mp3'>"
        handler.give(200, body.encode())

    site.route("/list", page)
    _, titles, _ = crawled(tmp_path, site.address("/list?n=0"), max_depth=3)
    assert (len(titles), sum(path.startswith("/list") for path in site.hits)) == (1, 5)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_sitemap_and_an_index_of_sitemaps_lead_to_their_pages(site, tmp_path, is_packed):
    for number in range(3):
        site.add_page(f"/{number}.html", f"Nocturne {number}", [f"/{number}.mp3"])
    body = "".join(f"<url><loc>\n{site.address(f'/{n}.html?a=1&amp;b=2')} </loc></url>" for n in range(3))
    body = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{body}</urlset>'
    inner = gzip.compress(body.encode()) if is_packed else body
    url = site.add("/s1.xml.gz", inner, "application/x-gzip" if is_packed else "text/xml")
    seed = site.add("/sitemap.xml", f"<sitemapindex><sitemap><loc>{url}</loc></sitemap></sitemapindex>", "text/xml")
    assert sorted(crawled(tmp_path, seed)[1]) == ["Nocturne 0", "Nocturne 1", "Nocturne 2"]


def json_feed(count: int, **more) -> str:
    items = [
        {"id": n, "url": f"/{n}.html", "title": f"Nocturne {n}",
         "attachments": [{"url": f"/{n}.mp3", "mime_type": "audio/mpeg", "duration_in_seconds": 60 + n}]}
        for n in range(count)
    ]  # fmt: skip
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "Clara", "items": items, **more})


@pytest.mark.parametrize("kind", ["application/feed+json", "application/json", "text/plain"])
def test_a_json_feed_is_a_feed(site, kind):
    url = site.add("/feed.json", json_feed(3, next_url="/2.json"), kind)
    found = list(follow(Lead("page", url), a_web(), 2))
    assert [one.title for one in found if hasattr(one, "title")] == ["Nocturne 0", "Nocturne 1"]
    assert found[0] == LeftOut("1 of 3 entries")
    assert [one.target for one in found if isinstance(one, Lead)] == [site.address("/2.json")]


def test_a_page_with_more_than_fifty_objects_of_json_ld_gives_all_of_them(site):
    objects = [{"@type": "AudioObject", "name": f"Etude {n}", "contentUrl": f"/{n}.flac"} for n in range(300)]
    for block in (objects, {"@graph": [[one] for one in objects]}):
        body = f'<title>x</title><script type="application/ld+json">{json.dumps(block)}</script><audio src="/7.mp3">'
        found = list(follow(Lead("page", site.add("/p.html", body)), a_web(), 1000))
        assert sorted(one.title for one in found) == sorted(one["name"] for one in objects)


def test_a_long_block_of_json_ld_is_read_and_one_that_cannot_be_is_said(site):
    block = {"@type": "AudioObject", "name": "Etude", "contentUrl": "/1.flac", "text": "x" * 2_000_000}
    script = '<script type="application/ld+json">'
    url = site.add("/p.html", f"{script}{json.dumps(block)}</script>{script}{{'a':1}}</script>")
    found = list(follow(Lead("page", url), a_web(), 10))
    assert found[0] == LeftOut("1 blocks of JSON that cannot be read", is_by_limit=False)
    assert [one.title for one in found[1:]] == ["Etude"]
