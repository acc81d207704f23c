"""robots.txt as sites really send it: with marks, versions, other types, other charsets."""

from __future__ import annotations

import pytest
from web_server import Site

from aria_data.web import FetchFailed, Web, WebConfig
from aria_data.web.robots import Robots

RULES = b"User-agent: *\nDisallow: /secret\n"


@pytest.fixture
def site():
    with Site() as site:
        yield site


def is_kept_out(site: Site, body: bytes, kind: str = "text/plain") -> bool:
    site.add("/robots.txt", body, kind)
    web = Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, jitter=0.0))
    robots = Robots(web)
    robots.require(site.address("/open/a.mp3"))
    try:
        robots.require(site.address("/secret/a.mp3"))
    except FetchFailed as error:
        return error.reason == "robots"
    return False


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + RULES,
        RULES.decode().encode("utf-16"),
        RULES.replace(b"\n", b"\r"),
        RULES.replace(b"\n", b"\r\n"),
    ],
)
def test_rules_are_obeyed_whatever_mark_and_line_ends_they_have(site, body):
    assert is_kept_out(site, body)


@pytest.mark.parametrize(
    "kind", ["text/html", "application/octet-stream", "application/json", "audio/mpeg", "text/x-robots", "image/gif"]
)
def test_rules_are_obeyed_whatever_type_the_server_gives_them(site, kind):
    assert is_kept_out(site, RULES, kind)


@pytest.mark.parametrize(
    "name", ["aria-data", "aria-data/1.0", "Aria-Data/0.9 # old", "aria-data (+https://a.org)", "aria-data / 2"]
)
def test_rules_for_our_name_are_ours_with_a_version_too(site, name):
    assert is_kept_out(site, f"User-agent: {name}\nDisallow: /secret\n\nUser-agent: *\nAllow: /".encode())


@pytest.mark.parametrize("name", ["aria-database", "aria-data-fork/1.0", "other/1.0"])
def test_rules_for_another_name_are_not_ours(site, name):
    assert not is_kept_out(site, f"User-agent: {name}\nDisallow: /\n\nUser-agent: *\nAllow: /".encode())


@pytest.mark.parametrize(
    "start", ["<!DOCTYPE html><html>", "\n <HTML>", "<!-- x --><head>", "<?xml version='1.0'?><!DOCTYPE html>"]
)
def test_a_page_in_the_place_of_rules_says_nothing(site, start):
    body = f"{start}<pre>\n{RULES.decode()}</pre>".encode()
    assert not is_kept_out(site, body, "text/plain")
    assert not is_kept_out(site, body, "text/html")
