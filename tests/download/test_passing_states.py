"""What stops a fetch for now is tried again in a later run: refusals, checks of visitors, streams without an end."""

from __future__ import annotations

import json

import pytest
from web_server import Site, sound, status

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.collect.sources.players import is_audio_address
from aria_data.download import DownloadConfig, download
from aria_data.errors import AriaDataError, TemporaryError
from aria_data.records import Candidate
from aria_data.web import HostResting, Web, WebConfig, kind_of
from aria_data.web.challenges import is_audio_head
from aria_data.web.failures import kind_of_message
from aria_data.web.robots import Robots


@pytest.fixture
def site():
    with Site() as site:
        yield site


def a_web(**settings) -> Web:
    return Web(WebConfig(**({"allow_hosts": ("127.0.0.1",), "min_interval_s": 0.0, "max_failures": 1000} | settings)))


def a_candidate(url: str) -> Candidate:
    return Candidate("web-a", "web", url, url, "A sonata")


def caught(url: str, tmp_path, web: Web | None = None) -> AriaDataError:
    with pytest.raises(AriaDataError) as error:
        download(a_candidate(url), tmp_path, DownloadConfig(backoff_s=0.01), web or a_web())
    return error.value


CHALLENGES = {
    "cloudflare by its header": (403, b"<html>no</html>", {"cf_mitigated": "challenge"}),
    "cloudflare by its page": (503, b"<html><head><title>Just a moment...</title></head></html>", {}),
    "a captcha": (403, b'<html><form><div class="h-captcha"></div></form></html>', {}),
    "datadome": (403, b'<script src="https://ct.captcha-delivery.com/c.js"></script>', {}),
    "aws": (405, b"", {"x_amzn_waf_action": "captcha"}),
    "with status 200": (200, b"<title>Making sure you&#39;re not a bot!</title><i id='anubis_challenge'>", {}),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_check_of_human_visitors_rests_the_host_and_is_for_a_later_run(site, tmp_path, name):
    code, body, headers = CHALLENGES[name]
    url = site.route("/a.flac", lambda handler: handler.give(code, body, "text/html", **headers))
    web = a_web()
    error = caught(url, tmp_path, web)
    assert (kind_of(error), isinstance(error, TemporaryError), site.hits["/a.flac"]) == ("bot-check", True, 1)
    with pytest.raises(HostResting):
        web.get(site.add("/b", "hello"))
    site.add_audio("/a.flac")
    assert download(a_candidate(url), tmp_path, DownloadConfig(), a_web()).num_bytes  # the later run


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_page_that_checks_visitors_is_no_page_without_audio(site, name):
    code, body, headers = CHALLENGES[name]
    url = site.route("/page", lambda handler: handler.give(code, body, "text/html", **headers))
    with pytest.raises(AriaDataError) as error:
        list(follow(Lead("page", url), a_web(), 10))
    assert kind_of(error.value) == "bot-check"


def test_hosts_that_refuse_again_and_again_rest_and_a_robots_txt_that_is_refused_does_not_count(site, tmp_path):
    site.route("/robots.txt", status(403))
    site.route("/.well-known/tdmrep.json", status(403))
    web = a_web(max_failures=3)
    Robots(web).require(site.address("/a"))
    for path in ("/a", "/b", "/c"):
        with pytest.raises(AriaDataError) as error:
            web.get(site.route(path, status(403)))
        assert kind_of(error.value) == "forbidden"
    with pytest.raises(HostResting):
        web.get(site.add("/d", "hello"))


def test_a_challenge_in_place_of_robots_txt_is_no_permission(site):
    site.route("/robots.txt", lambda handler: handler.give(403, b"<title>Just a moment...</title>"))
    web = a_web()
    with pytest.raises(TemporaryError):
        Robots(web).require(site.address("/a"))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Premieres in 3 hours", "live"),
        ("The channel is not currently live", "live"),
        ("Premiere will begin shortly", "live"),
        ("The channel is offline", "live"),
        ("This live event has not started yet", "live"),
        ("We're processing this video. Check back later.", "live"),
        ("This live stream recording is not available.", "gone"),
        ("The video is temporarily unavailable", "network"),
        ("HTTP Error 503: Service Unavailable", "network"),
        ("HTTP Error 403: Forbidden", "forbidden"),
        ("Video unavailable", "gone"),
        ("Private video", "private"),
    ],
)
def test_only_what_is_fatal_has_a_fatal_word(words, kind):
    assert kind_of_message(words) == kind


@pytest.mark.parametrize("kind", ["application/octet-stream", "binary/octet-stream", "application/force-download", ""])
@pytest.mark.parametrize("format_", ["flac", "mp3", "ogg", "wav"])
def test_a_file_without_ending_and_type_is_known_by_its_first_bytes(site, tmp_path, kind, format_):
    content = sound(8, 0, format_)
    url = site.route("/get/17", lambda handler: handler.give_file(content, kind))
    (one,) = follow(Lead("page", url, hint="Nocturne"), a_web(), 10)
    assert (one.location, one.title) == (url, "Nocturne")
    fetched = download(one, tmp_path, DownloadConfig(), a_web())
    assert (tmp_path / fetched.audio_path).read_bytes() == content


def test_a_file_that_is_no_audio_is_still_left_out(site):
    for number, content in enumerate((b"PK\x03\x04" * 2000, b"%PDF-1.7" * 900, b"\x7fELF" * 900, b"\0" * 9000)):
        url = site.add(f"/get/{number}", content, "application/octet-stream")
        with pytest.raises(AriaDataError) as error:
            list(follow(Lead("page", url), a_web(), 10))
        assert kind_of(error.value) == "unsupported"


def test_first_bytes_of_pictures_and_texts_are_not_those_of_audio():
    for head in (b"\xff\xfeA\0", b"\xff\xd8\xff\xe0", b"\0\0\0\x20ftypavif", b"RIFF\0\0\0\0WEBP", b"<html>", b""):
        assert not is_audio_head(head)


def test_an_enclosure_of_a_feed_that_says_no_type_is_followed(site):
    content = sound(8)
    audio = site.route("/get/17", lambda handler: handler.give_file(content, "application/octet-stream"))
    body = f'<rss version="2.0"><channel><title>P</title><item><title>Prelude</title><link>{site.address("/x")}</link>'
    body += f'<enclosure url="{audio}" type="application/octet-stream" length="9"/></item></channel></rss>'
    (lead,) = follow(Lead("feed", site.add("/feed", body, "application/rss+xml")), a_web(), 10)
    (one,) = follow(lead, a_web(), 10)
    assert (one.location, one.title) == (audio, "Prelude")


LIVE_LIST = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\n7.ts\n#EXTINF:4,\n8.ts\n"


def test_a_live_list_of_pieces_given_directly_is_a_candidate_for_later(site, tmp_path):
    url = site.add("/live.m3u8", LIVE_LIST, "application/vnd.apple.mpegurl")
    (candidate,) = follow(Lead("page", url), a_web(), 10)
    error = caught(candidate.location, tmp_path)
    assert (kind_of(error), isinstance(error, TemporaryError)) == ("live", True)


@pytest.mark.parametrize("headers", [{"icy_name": "Radio"}, {"icy_br": "128"}, {"server": "Icecast 2.4.4"}])
def test_a_radio_station_is_live_and_not_waited_for(site, tmp_path, headers):
    def station(handler):
        handler.send_response(200)
        for name, value in {"content_type": "audio/mpeg", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        while True:
            handler.wfile.write(b"\0" * 65536)

    error = caught(site.route("/radio.mp3", station), tmp_path)
    assert (kind_of(error), isinstance(error, TemporaryError)) == ("live", True)


def test_an_attachment_of_a_json_feed_that_says_no_type_is_followed(site):
    item = {"id": "1", "url": site.address("/1.html"), "title": "Nocturne", "attachments": [{"url": "/media/1"}]}
    feed = json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": [item]})
    (lead,) = follow(Lead("feed", site.add("/feed.json", feed, "application/feed+json")), a_web(), 10)
    assert (lead.target, lead.hint) == (site.address("/media/1"), "Nocturne")


@pytest.mark.parametrize(
    ("url", "is_audio"),
    [
        ("https://a.net.au", False),
        ("//a.net.au", False),
        ("https://a.org/b.au", True),
        ("b.au?x=1", True),
        ("/b.m2ts", True),
    ],
)
def test_the_name_of_a_host_is_no_ending_of_a_file(url, is_audio):
    assert is_audio_address(url) == is_audio
