"""A page or feed that a foreign reader does not get through is left alone, and the next one is read."""

from __future__ import annotations

import pytest
from web_server import Site

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.web import FetchFailed, Web, WebConfig
from aria_data.web.first_tag import first_tag
from aria_data.web.trial_reading import TRIAL

SLOW_PAGE = "<html><body>" + "<b " * 200_000
SLOW_FEED = "<rss><channel><item><title>" + "<a " * 700_000


@pytest.fixture
def quick(monkeypatch):
    """A page that is well is read at once, so that half a second is long where the process runs already."""
    TRIAL.require_readable("http://a.org/", "<title>x</title>", "page")
    monkeypatch.setattr(TRIAL, "read_s", 0.5)
    yield
    TRIAL.close()


@pytest.mark.parametrize(("body", "kind"), [(SLOW_PAGE, "text/html"), (SLOW_FEED, "application/rss+xml")])
def test_a_text_that_takes_for_ever_is_left_alone_and_the_next_one_is_read(quick, body, kind):
    with Site() as site:
        web = Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, jitter=0.0))
        with pytest.raises(FetchFailed, match=r"cannot read this (page|feed) within") as error:
            list(follow(Lead("page", site.add("/slow", body, kind)), web, 100))
        assert error.value.reason == "unsupported"
        TRIAL.read_s = 30.0
        (found,) = follow(Lead("page", site.add_page("/a.html", "Nocturne", ["/a.mp3"])), web, 100)
        assert found.title == "Nocturne"


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<?xml version='1.0'?>\n<!-- <rss> --><rss>", "rss"),
        ('\ufeff<!DOCTYPE rss [<!ENTITY a "<b>"> ]>\n<rss version="2.0">', "rss"),
        ("<!DOCTYPE rdf:RDF PUBLIC '-//x' 'y'><rdf:RDF>", "rdf"),
        ("<sm:urlset xmlns:sm='x'>", "urlset"),
        ("<!doctype html><rss>", "!doctype"),
        ("<!-- no end <rss>", ""),
        ("User-agent: *\nDisallow: /", ""),
        ("<?x" * 100_000, ""),
        ("<!-- --><?a?>" * 100_000 + "<feed>", "feed"),
        ("<!DOCTYPE a>" * 100_000 + "<feed>", "feed"),
        ("<!DOCTYPE" * 100_000, ""),
        ("\n" * 500_000 + "<feed>", "feed"),
    ],
    ids=lambda value: value[:20],
)
def test_the_first_tag_says_what_a_text_is_however_much_stands_before_it(text, tag):
    assert first_tag(text) == tag
