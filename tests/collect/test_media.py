"""A site that yt-dlp knows: real yt-dlp with an extractor for the local server, since no real site is requested."""

from __future__ import annotations

import gc
import json

import pytest
from web_server import RATE, Site, sound, status
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, GeoRestrictedError

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead
from aria_data.download import DownloadConfig, download
from aria_data.errors import AriaDataError
from aria_data.records import Candidate
from aria_data.web import Web, WebConfig, kind_of, ytdlp_handler


class TestSiteIE(InfoExtractor):
    """Videos at /watch/<id>: their fields from the API, errors in the words of real sites."""

    __test__ = False
    IE_NAME = "testsite"
    _VALID_URL = r"http://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

    def _real_extract(self, url):
        video_id = self._match_id(url)
        fields = self._download_json(url.replace("/watch/", "/api/"), video_id)
        if fields.get("geo"):
            raise GeoRestrictedError("This video is not available in your country", countries=["DE"])
        if fields.get("error"):
            raise ExtractorError(fields["error"], expected=True)
        return {"id": video_id, **fields}


class TestSiteChannelIE(InfoExtractor):
    """Channels at /channel/<id>: lists of videos and of further lists."""

    __test__ = False
    IE_NAME = "testsite:channel"
    _VALID_URL = r"http://127\.0\.0\.1:\d+/channel/(?P<id>\w+)"

    def _real_extract(self, url):
        name = self._match_id(url)
        fields = self._download_json(url.replace("/channel/", "/api/channel/"), name)
        entries = [self.url_result(entry.pop("url"), **entry) for entry in fields["entries"]]
        return self.playlist_result(entries, name, fields.get("title"), uploader="A Pianist", uploader_url=url)


@pytest.fixture
def site(monkeypatch):
    real = ytdlp_handler.GuardedYoutubeDL.__init__

    def with_test_site(self, *arguments, **settings):
        real(self, *arguments, **settings)
        known = dict(self._ies)
        self._ies.clear()
        self.add_info_extractor(TestSiteIE(self))
        self.add_info_extractor(TestSiteChannelIE(self))
        self._ies.update(known)

    monkeypatch.setattr(ytdlp_handler.GuardedYoutubeDL, "__init__", with_test_site)
    with Site() as site:
        yield site


@pytest.fixture
def web():
    return Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, max_failures=1000))


def add_video(site: Site, name: str, **fields) -> str:
    site.add(f"/api/{name}", json.dumps(fields), "application/json")
    return site.address(f"/watch/{name}")


def a_format(url: str, **more) -> dict:
    return {"format_id": "a", "url": url, "ext": "flac", "acodec": "flac", "vcodec": "none", **more}


def a_candidate(url: str) -> Candidate:
    return Candidate("testsite-v1", "testsite", url, url, "A sonata")


def test_a_page_of_a_known_site_is_a_candidate_under_the_sites_own_id(site, web):
    url = add_video(
        site, "v1", title="Nocturne", description="played alone", uploader="A Pianist", duration=12.5,
        channel_url=site.address("/channel/c1"), license="Creative Commons Attribution license (reuse allowed)",
        formats=[a_format(site.address("/a.flac"))],
    )  # fmt: skip
    (one,) = follow(Lead("page", url), web, 10)
    assert (one.candidate_id, one.source, one.title, one.uploader) == (
        "testsite-v1",
        "testsite",
        "Nocturne",
        "A Pianist",
    )
    assert (one.announced_duration_s, one.location) == (12.5, url)
    assert (one.licence[:28], one.uploader_url) == ("Creative Commons Attribution", site.address("/channel/c1"))
    assert site.hits["/a.flac"] == 0


def test_a_channel_is_read_flat_and_its_lists_are_leads(site, web):
    entries = [
        {"url": site.address(f"/watch/v{n}"), "ie": "TestSite", "video_id": f"v{n}", "video_title": f"Piece {n}"}
        for n in range(30)
    ]
    entries.append({"url": site.address("/channel/more"), "ie": "TestSiteChannel", "video_title": "More"})
    site.add("/api/channel/c1", json.dumps({"title": "All", "entries": entries}), "application/json")
    lead = Lead("page", site.address("/channel/c1"))
    found = list(follow(lead, web, 100))
    candidates = [one for one in found if isinstance(one, Candidate)]
    assert [one.title for one in candidates] == [f"Piece {n}" for n in range(30)]
    assert {one.candidate_id for one in candidates} == {f"testsite-v{n}" for n in range(30)}
    assert [one.target for one in found if isinstance(one, Lead)] == [site.address("/channel/more")]
    assert len(site.requests) == 1  # no page of an entry is asked for
    assert len([one for one in follow(lead, web, 7) if isinstance(one, Candidate)]) == 7


def test_the_best_audio_stream_is_fetched_as_it_is(site, web, tmp_path):
    site.add_audio("/low.flac", 8, number=1)
    site.add_audio("/high.flac", 8, number=2)
    formats = [
        a_format(site.address("/low.flac"), abr=64, format_id="low"),
        a_format(site.address("/high.flac"), abr=256, format_id="high"),
        {
            "format_id": "v",
            "url": site.address("/video.mp4"),
            "ext": "mp4",
            "vcodec": "h264",
            "acodec": "aac",
            "height": 720,
        },
    ]
    url = add_video(site, "v1", title="T", duration=8, license="CC0", formats=formats)
    fetched = download(a_candidate(url), tmp_path, DownloadConfig(), web)
    assert (tmp_path / fetched.audio_path).read_bytes() == sound(8, 2)
    assert (fetched.licence_code, fetched.sample_rate) == ("cc0", RATE)
    assert not site.hits["/video.mp4"] + site.hits["/low.flac"]


def test_a_403_is_answered_with_a_fresh_extraction_and_with_nothing_else(site, web, tmp_path):
    site.add_audio("/a.flac", 8)
    site.once("/a.flac", status(403))
    url = add_video(site, "v1", title="T", formats=[a_format(site.address("/a.flac"))])
    assert download(a_candidate(url), tmp_path, DownloadConfig(backoff_s=0.01), web).num_bytes
    assert (site.hits["/api/v1"], site.hits["/a.flac"]) == (2, 2)


@pytest.mark.parametrize(
    ("fields", "kind", "num_asked"),
    [
        ({"error": "Sign in to confirm you’re not a bot. Use --cookies-from-browser"}, "bot-check", 1),
        ({"error": "Private video. Sign in if you've been granted access"}, "private", 1),
        ({"error": "Sign in to confirm your age"}, "age", 1),
        ({"error": "Video unavailable. This video is no longer there due to a copyright claim by X"}, "copyright", 1),
        ({"error": "This video has been removed by the uploader"}, "gone", 1),
        ({"geo": True}, "geo", 1),
        ({"title": "T", "is_live": True, "formats": [{"url": "http://127.0.0.1/x", "ext": "flac"}]}, "live", 1),
        ({"title": "T", "live_status": "is_upcoming", "formats": []}, "live", 1),
        ({"error": "This live event will begin in 3 hours."}, "live", 1),
        ({"title": "T", "formats": []}, "unsupported", 1),
        ({"title": "T", "formats": [{"url": "rtmp://127.0.0.1/x", "ext": "flv"}]}, "unsupported", 1),
        ({"title": "T", "formats": [{"url": "file:///etc/passwd", "ext": "flac"}]}, "unsupported", 1),
        ({"title": "T", "formats": [{"url": "http://10.0.0.1/x.flac", "ext": "flac"}]}, "refused", 1),
        ({"title": "T", "duration": 99_999, "formats": [{"url": "http://127.0.0.1/x", "ext": "flac"}]}, "too-long", 1),
    ],
)  # fmt: skip
def test_a_sites_message_has_its_kind_and_is_not_asked_again(site, web, tmp_path, fields, kind, num_asked):
    url = add_video(site, "v1", **fields)
    with pytest.raises(AriaDataError) as caught:
        download(a_candidate(url), tmp_path, DownloadConfig(backoff_s=0.01), web)
    assert kind_of(caught.value) == kind
    assert "\n" not in str(caught.value)
    assert site.hits["/api/v1"] == num_asked
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_bot_check_leaves_the_host_alone_for_everyone(site, web, tmp_path):
    url = add_video(site, "v1", error="Sign in to confirm you're not a bot")
    other = add_video(site, "v2", title="T", formats=[a_format(site.add_audio("/b.flac", 8))])
    for each in (url, other):
        with pytest.raises(AriaDataError):
            download(a_candidate(each), tmp_path, DownloadConfig(), web)
    assert site.hits["/api/v2"] == 0
    assert not web.config.cookies


def test_a_playlist_of_segments_comes_through_the_same_gate(site, web, tmp_path):
    content = sound(8, 0, "mp3")
    third = len(content) // 3
    pieces = [content[:third], content[third : 2 * third], content[2 * third :]]
    for number, piece in enumerate(pieces):
        site.add(f"/s{number}.mp3", piece, "audio/mpeg")
    lines = "".join(f"#EXTINF:3,\n/s{number}.mp3\n" for number in range(3))
    site.add(
        "/list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n{lines}#EXT-X-ENDLIST\n", "application/vnd.apple.mpegurl"
    )
    hls = a_format(site.address("/list.m3u8"), protocol="m3u8_native", ext="mp3")
    url = add_video(site, "v1", title="T", formats=[hls])
    fetched = download(a_candidate(url), tmp_path, DownloadConfig(), web)
    assert (tmp_path / fetched.audio_path).read_bytes() == content
    assert not list(tmp_path.rglob("*.partial")) + list(tmp_path.rglob("*Frag*"))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # yt-dlp leaves its file to the collector
def test_segments_that_lead_into_the_own_network_are_refused(site, web, tmp_path):
    body = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://10.0.0.1/s.mp3\n#EXT-X-ENDLIST\n"
    site.add("/list.m3u8", body, "application/vnd.apple.mpegurl")
    hls = a_format(site.address("/list.m3u8"), protocol="m3u8_native", ext="mp3")
    url = add_video(site, "v1", title="T", formats=[hls])
    with pytest.raises(AriaDataError) as caught:
        download(a_candidate(url), tmp_path, DownloadConfig(backoff_s=0.01), web)
    assert kind_of(caught.value) in ("refused", "network")
    assert not list(tmp_path.rglob("*.mp3"))
    del caught
    gc.collect()
