"""One recording on a page is one candidate, under its best title."""

from __future__ import annotations

import json

import pytest
from web_server import Site

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.records import Candidate
from aria_data.web import Web, WebConfig


@pytest.fixture
def site():
    with Site() as site:
        yield site


def found_on(site: Site, body: str, path: str = "/recital/page.html") -> list[Candidate]:
    url = site.add(path, f"<title>Recital of June</title>{body}")
    web = Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, jitter=0.0))
    return [one for one in follow(Lead("page", url), web, 100) if isinstance(one, Candidate)]


TRACKS = json.dumps({"tracks": [{"src": f"/{n}.mp3", "title": f"Chopin Nocturne {n}"} for n in range(2)]})
ALONE = [
    '<audio><source src="/a.mp3" type="audio/mpeg"><source src="/a.ogg" type="audio/ogg"></audio>',
    '<audio><source src="/x1.mp3"><source src="/y2.ogg">Your browser does not support it</audio>',
    '<audio src="/a.mp3"></audio><a href="/a.mp3">Download</a>', '<a href="/a.flac">FLAC</a> <a href="/a.mp3">MP3</a>',
    '<audio class="wp-audio-shortcode"><source src="/a.mp3?_=1"><a href="/a.mp3">http://x.org/a.mp3</a></audio>',
]  # fmt: skip
SEVERAL = {
    "links": "".join(f'<p><a href="/{n}.mp3">Chopin Nocturne {n}</a></p>' for n in range(2)),
    "paragraphs": "".join(f'<p>{n}. <a href="/{n}.mp3">Play</a> Chopin Nocturne {n} (5 MB)' for n in range(2)),
    "paragraphs in items": "".join(
        f'<li><p><a href="/{n}.mp3">mp3</a></p><p>x</p>Chopin Nocturne {n}</li>' for n in range(2)
    ),
    "players": "".join(f'<audio title="Chopin Nocturne {n}" src="/{n}.mp3"></audio>' for n in range(2)),
    "WordPress": f'<script type="application/json" class="wp-playlist-script">{TRACKS}</script>',
    "a table": "<table>" + "".join(
        f'<tr><td>{n + 1}.</td><td>Chopin Nocturne {n}</td><td>3:0{n}</td>'
        f'<td><a href="/{n}.mp3">Download</a></td></tr>'
        for n in range(2)) + "</table>",
    "headings": "".join(f'<h2>Chopin Nocturne {n}</h2><audio src="/{n}.mp3"></audio>' for n in range(2)),
    "captions": "".join(
        f'<figure><audio src="/{n}.mp3"></audio><figcaption>Chopin Nocturne {n}</figcaption></figure>'
        for n in range(2)),
    "items": "".join(f'<li>Chopin Nocturne {n} <a href="/{n}.mp3">MP3 (5.1 MB)</a></li>' for n in range(2)),
}  # fmt: skip


@pytest.mark.parametrize("body", ALONE)
def test_two_formats_of_one_recording_are_one_candidate_with_the_title_of_the_page(site, body):
    assert [one.title for one in found_on(site, body)] == ["Recital of June"]


@pytest.mark.parametrize("name", SEVERAL)
def test_each_recording_of_a_page_has_the_title_that_stands_beside_it(site, name):
    assert [one.title for one in found_on(site, SEVERAL[name])] == ["Chopin Nocturne 0", "Chopin Nocturne 1"]


def test_pages_that_all_name_one_address_as_theirs_are_different_candidates(site):
    for home in ("/", "/start.html"):
        head = f'<link rel="canonical" href="{site.address(home)}">'
        found = [found_on(site, f'{head}<audio src="/{n}.mp3"></audio>', f"/{n}.html") for n in range(3)]
        assert len({one.candidate_id for (one,) in found}) == 3
