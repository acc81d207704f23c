"""Fetching one candidate's audio from a real server that misbehaves: the end, the requests made, the files left."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import film
from fakes import encode_audio, melody
from web_server import RATE, Answer, Handler, Site, announces, cut_after, endless, redirect, sound, status

from aria_data.download import DownloadConfig, download, response_checks, settle
from aria_data.download import fetch as module
from aria_data.download.partial_files import partial_path
from aria_data.errors import AriaDataError, DatasetNotWritable, TemporaryError
from aria_data.records import Candidate, Download
from aria_data.storage import sha256_file
from aria_data.web import (
    FetchFailed,
    HostResting,
    RequestBudget,
    RequestsSpent,
    Web,
    WebConfig,
    canonical,
    kind_of,
    ytdlp_handler,
)
from aria_data.web.addresses import AddressRefused, candidate_id_of
from aria_data.web.pacing import Pacer

TRIES = 3


@pytest.fixture
def site():
    with Site() as site:
        yield site


class Clock:
    """Time that passes only when somebody waits, so that a Retry-After costs a test nothing."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def a_web(clock: Clock | None = None, budget: RequestBudget | None = None, **settings) -> Web:
    given = {"allow_hosts": ("127.0.0.1",), "min_interval_s": 0.0, "jitter": 0.0, "max_failures": 1000, **settings}
    config, clock = WebConfig(**given), clock or Clock()
    return Web(config, budget, Pacer(config.pacing(), lambda: clock.now, clock.sleep))


def at(location: str, page: str = "", name: str = "web-a", **fields) -> Candidate:
    return Candidate(name, "web", location, page or location, "Sonata for solo piano", **fields)


def get(candidate: Candidate, root: Path, web: Web | None = None, **settings) -> Download:
    given = DownloadConfig(**{"max_tries": TRIES, **settings})
    record = download(candidate, root, given, web or a_web(), wait=lambda seconds: None)
    settle(root, [candidate.candidate_id])  # as a run does when the record is in its table
    return record


def fails(kind: str, candidate: Candidate, root: Path, web: Web | None = None, **settings) -> AriaDataError:
    with pytest.raises(AriaDataError) as caught:
        get(candidate, root, web, **settings)
    assert kind_of(caught.value) == kind
    assert "\n" not in str(caught.value)
    return caught.value


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def samples_of(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="int16")[0]


def require_true(record: Download, content: bytes, root: Path) -> None:
    """Whether every number of a record is that of the file the site holds."""
    path, samples = root / record.audio_path, samples_of(content)
    assert path.read_bytes() == content
    assert path.relative_to(root).parts[0] == "audio"
    assert (record.num_bytes, record.audio_sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert record.samples_sha256 == hashlib.sha256(samples.tobytes()).hexdigest()
    assert record.duration_s == pytest.approx(len(samples) / RATE)
    assert (record.sample_rate, record.num_channels, record.num_faults) == (RATE, 1, 0)
    mean_square = np.mean((samples / 32768.0) ** 2)
    assert record.loudness_db == pytest.approx(10 * np.log10(mean_square), abs=0.02)


@pytest.mark.parametrize("format_", ["flac", "wav", "ogg"])
def test_a_fetched_file_is_the_one_that_the_site_holds_and_the_record_says_so(site, tmp_path, format_):
    url = site.add_audio(f"/a.{format_}", format_=format_)
    record = get(at(url, announced_duration_s=8.4), tmp_path)
    if format_ == "ogg":  # lossy: two decoders differ in the last bit
        assert (record.audio_sha256, record.codec) == (hashlib.sha256(sound(8, 0, "ogg")).hexdigest(), "vorbis")
    else:
        require_true(record, sound(8, 0, format_), tmp_path)
    assert left(tmp_path) == [f"web-a.{format_}"]
    assert (site.hits[f"/a.{format_}"], record.fetched_from) == (1, url)


def drips(content: bytes, num_bytes: int) -> Answer:
    """Gives so much at once, and the rest a byte at a time."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in (("Content-Type", "audio/flac"), ("Content-Length", str(len(content))), ("ETag", '"drip"')):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:num_bytes])
        for start in range(num_bytes, len(content)):
            handler.wfile.write(content[start : start + 1])
            handler.wfile.flush()
            time.sleep(0.02)

    return answer


def as_audio(content: bytes, length: int | None = None) -> Answer:
    """Sends any content as audio, with a stated length that may be wrong."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/flac")
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


FLAC = sound(8)
HOPELESS = {
    # fault: (answer, kind, for good, requests for the audio, what is left)
    "gone": (status(404), "gone", True, 1, []),
    "forbidden for ever": (status(403), "forbidden", False, 2, []),
    "needs an account": (status(401), "private", True, 1, []),
    "not for legal reasons": (status(451), "copyright", True, 1, []),
    "too many requests for ever": (status(429, retry_after="3"), "rate-limited", False, TRIES, []),
    "broken for ever": (status(500), "network", False, TRIES, []),
    "away for ever": (status(503), "network", False, TRIES, []),
    "cut for ever": (cut_after(FLAC, 30_000), "network", False, TRIES, ["web-a.partial", "web-a.partial.json"]),
    "announces more than it sends": (as_audio(FLAC[:40_000], 90_000), "network", False, TRIES, []),
    "announces less than it sends": (as_audio(FLAC, 30_000), "corrupt", True, 2, []),
    "no audio that says it is": (as_audio(b"<html>" * 500), "corrupt", True, 2, []),
    "nothing at all": (as_audio(b""), "network", False, TRIES, []),
    "a page": (lambda handler: handler.give(200, b"<html>sign in</html>"), "unsupported", True, 1, []),
    "a playlist of a stream": (
        lambda handler: handler.give(200, b"#EXTM3U\n", "application/vnd.apple.mpegurl"), "unsupported", True, 1, [],
    ),
    "leads in a circle": (redirect("/a.flac"), "unsupported", True, 5, []),
    "leads to a private address": (redirect("http://10.0.0.1/a.flac"), "refused", True, 1, []),
    "leads to the metadata service": (redirect("http://169.254.169.254/a.flac"), "refused", True, 1, []),
    "leads to a file": (redirect("file:///etc/passwd"), "unsupported", True, 1, []),
    "announces 10 GB": (announces(10_000_000_000), "too-long", True, 1, []),
    "has no end": (endless("audio/flac"), "too-long", True, 1, []),
    "asks not to be used": (
        lambda handler: handler.give_file(FLAC, "audio/flac", x_robots_tag="noai"), "robots", True, 1, [],
    ),
    "reserves its rights": (
        lambda handler: handler.give_file(FLAC, "audio/flac", tdm_reservation="1"), "robots", True, 1, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOPELESS)
def test_every_fault_that_stays_has_its_kind_its_requests_and_leaves_only_what_can_be_gone_on_with(
    site, tmp_path, fault
):
    answer, kind, is_final, num_requests, remains = HOPELESS[fault]
    url = site.route("/a.flac", answer)
    error = fails(kind, at(url), tmp_path, max_bytes=5_000_000)
    assert isinstance(error, TemporaryError) == (not is_final)
    assert site.hits["/a.flac"] == num_requests
    assert left(tmp_path) == remains


PASSING = {
    "forbidden once": (status(403), 2),
    "too many requests once": (status(429, retry_after="7"), 2),
    "broken once": (status(500), 2),
    "away once": (status(503, retry_after="7"), 2),
    "cut once": (cut_after(FLAC, 30_000), 2),
    "no audio once": (as_audio(b"\0" * 5000), 2),
    "announces less than it sends, once": (as_audio(FLAC, 30_000), 2),
}


@pytest.mark.parametrize("fault", PASSING)
def test_every_fault_that_passes_costs_one_request_more_and_nothing_else(site, tmp_path, fault):
    answer, num_requests = PASSING[fault]
    url = site.add_audio("/a.flac")
    site.once("/a.flac", answer)
    require_true(get(at(url), tmp_path), FLAC, tmp_path)
    assert (site.hits["/a.flac"], left(tmp_path)) == (num_requests, ["web-a.flac"])


def test_retry_after_is_waited_for(site, tmp_path):
    clock, url = Clock(), site.add_audio("/a.flac")
    site.once("/a.flac", status(429, retry_after="7"))
    get(at(url), tmp_path, a_web(clock))
    assert clock.slept == [pytest.approx(7.0)]


def test_a_host_that_asks_for_an_hour_is_left_alone_at_once(site, tmp_path):
    url, web = site.route("/a.flac", status(429, retry_after="3600")), a_web()
    fails("rate-limited", at(url), tmp_path, web)
    with pytest.raises(HostResting):
        get(at(url, name="web-b"), tmp_path, web)
    assert site.hits["/a.flac"] == 1


def test_a_slow_drip_ends_and_is_gone_on_with_when_the_site_is_well_again(site, tmp_path, monkeypatch):
    monkeypatch.setattr(ytdlp_handler, "DRIP_AFTER_S", 0.2)
    url = site.route("/a.flac", drips(FLAC, 0))
    assert "the answer drips" in str(fails("network", at(url), tmp_path, a_web(min_bytes_per_s=10_000.0)))
    assert site.hits["/a.flac"] == TRIES
    assert left(tmp_path) == ["web-a.partial", "web-a.partial.json"]
    site.add_audio("/a.flac")
    require_true(get(at(url), tmp_path), FLAC, tmp_path)


def test_a_cut_file_is_gone_on_with_where_it_stopped(site, tmp_path):
    url = site.add_audio("/a.flac")
    site.once("/a.flac", cut_after(FLAC, 30_000))
    require_true(get(at(url), tmp_path), FLAC, tmp_path)
    first, second = (headers for _, path, headers in site.requests if path == "/a.flac")
    assert "Range" not in first
    assert second["Range"] == "bytes=30000-"
    assert second["If-Range"] == f'"{hashlib.sha256(FLAC).hexdigest()[:16]}"'


def test_a_cut_file_is_gone_on_with_in_a_later_run(site, tmp_path):
    url = site.route("/a.flac", cut_after(FLAC, 30_000))
    fails("network", at(url), tmp_path, max_tries=1)
    site.add_audio("/a.flac")
    require_true(get(at(url), tmp_path), FLAC, tmp_path)
    assert site.requests[-1][2]["Range"] == "bytes=30000-"
    assert left(tmp_path) == ["web-a.flac"]


def test_a_file_that_changed_in_between_is_fetched_anew_and_never_a_mixture(site, tmp_path):
    url = site.route("/a.flac", cut_after(FLAC, 30_000))
    fails("network", at(url), tmp_path, max_tries=1)
    site.add_audio("/a.flac", number=1)
    require_true(get(at(url), tmp_path), sound(8, 1), tmp_path)


def ignores_if_range(content: bytes, **headers: str) -> Answer:
    """A careless server: it gives any range of whatever the file is now."""

    def answer(handler: Handler) -> None:
        handler.headers.replace_header("If-Range", "x") if "If-Range" in handler.headers else None
        del handler.headers["If-Range"]
        handler.give_file(content, "audio/wav", **headers)

    return answer


@pytest.mark.parametrize(
    ("seconds", "headers"),
    [(8.0, {}), (9.0, {}), (9.0, {"etag": '"same for all"'}), (8.0, {"content_range": "bytes 0-9/*"})],
    ids=["another mark", "another mark and length", "another length", "another place"],
)
def test_a_careless_server_cannot_make_a_mixture_of_two_files(site, tmp_path, seconds, headers):
    old, new = sound(8, 0, "wav"), sound(seconds, 1, "wav")
    url = site.route("/a.wav", cut_after(old, 100_000, "audio/wav"))
    fails("network", at(url), tmp_path, max_tries=1)
    site.route("/a.wav", ignores_if_range(new, **headers))
    require_true(get(at(url), tmp_path), new, tmp_path)


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(site, tmp_path):
    url = site.route("/a.wav", lambda handler: handler.give(206, b"RIFF", "audio/wav", content_range="bytes 0-3/99"))
    fails("network", at(url), tmp_path)
    assert (site.hits["/a.wav"], left(tmp_path)) == (TRIES, [])


def test_a_file_that_became_shorter_than_what_came_is_fetched_anew(site, tmp_path):
    url = site.route("/a.wav", cut_after(sound(8, 0, "wav"), 200_000, "audio/wav"))
    fails("network", at(url), tmp_path, max_tries=1)
    site.route("/a.wav", ignores_if_range(sound(5, 1, "wav")))
    require_true(get(at(url), tmp_path), sound(5, 1, "wav"), tmp_path)


class Killed(BaseException):
    """What a kill leaves is what this leaves: nothing here catches it."""


@pytest.mark.parametrize("moment", ["inspect", "sha256_file", "note_record"])
def test_a_whole_file_that_a_kill_left_without_its_name_is_not_fetched_again(site, tmp_path, monkeypatch, moment):
    def kill(*_: object) -> None:
        raise Killed

    url = site.add_audio("/a.flac")
    with monkeypatch.context() as patch:
        patch.setattr(module, moment, kill)
        with pytest.raises(Killed):
            get(at(url), tmp_path)
    assert "web-a.partial" in left(tmp_path)
    require_true(get(at(url), tmp_path), FLAC, tmp_path)
    assert (site.hits["/a.flac"], left(tmp_path)) == (1, ["web-a.flac"])


def test_audio_whose_record_a_kill_kept_out_of_the_table_is_not_fetched_again(site, tmp_path):
    candidate = at(site.add_audio("/a.flac"))
    first = download(candidate, tmp_path, DownloadConfig(), a_web())
    settle(tmp_path, [])
    assert get(candidate, tmp_path) == first
    assert (site.hits["/a.flac"], left(tmp_path)) == (1, ["web-a.flac"])


@pytest.mark.parametrize("note", ["", "[]", "{", '{"record": {"candidate_id": 3}}', '{"record": null}', "[" * 100_000])
def test_a_damaged_note_costs_a_fetch_and_nothing_else(site, tmp_path, note):
    candidate = at(site.add_audio("/a.flac"))
    download(candidate, tmp_path, DownloadConfig(), a_web())
    next(tmp_path.rglob("*.partial.json")).write_text(note)
    require_true(get(candidate, tmp_path), FLAC, tmp_path)
    assert (site.hits["/a.flac"], left(tmp_path)) == (2, ["web-a.flac"])


def test_what_cannot_be_gone_on_with_is_not_kept(site, tmp_path):
    for name, mark in (("a", "W/weak"), ("b", "")):
        url = site.route(f"/{name}.flac", without_mark(FLAC, 30_000, mark))
        fails("network", at(url, name=f"web-{name}"), tmp_path)
    assert left(tmp_path) == []


def without_mark(content: bytes, num_bytes: int, mark: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        if mark:
            handler.send_header("ETag", mark)
        handler.end_headers()
        handler.wfile.write(content[:num_bytes])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(2)

    return answer


@pytest.mark.parametrize("end", [status(404), redirect("http://10.0.0.1/"), announces(10_000_000_000)])
def test_a_failure_for_good_takes_the_half_that_came_before_with_it(site, tmp_path, end):
    url = site.route("/a.flac", cut_after(FLAC, 30_000))
    fails("network", at(url), tmp_path, max_tries=1)
    assert left(tmp_path) == ["web-a.partial", "web-a.partial.json"]
    site.route("/a.flac", end)
    with pytest.raises((FetchFailed, AddressRefused)):
        get(at(url), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize(("announced_s", "is_right"), [(8.0, True), (9.9, True), (10.1, False), (5.9, False)])
def test_a_duration_may_differ_by_two_seconds_or_two_percent(site, tmp_path, announced_s, is_right):
    candidate = at(site.add_audio("/a.flac"), announced_duration_s=announced_s)
    if is_right:
        get(candidate, tmp_path)
        return
    error = fails("corrupt", candidate, tmp_path)
    assert error.measured == pytest.approx(8 / announced_s)
    assert (site.hits["/a.flac"], left(tmp_path)) == (2, [])


def test_a_site_may_announce_the_length_of_the_film_whose_sound_is_shorter(site, tmp_path):
    path = film(tmp_path / "a.webm", "libopus", [(0, melody(8, 0, 48_000, 2))], 14, "libvpx")
    url = site.route("/a.webm", as_audio(path.read_bytes()))
    assert get(at(url, announced_duration_s=14.0), tmp_path / "dataset").duration_s == pytest.approx(8, abs=0.1)
    assert fails("corrupt", at(url, announced_duration_s=30.0), tmp_path / "other").measured == pytest.approx(8 / 30)


def test_too_long_by_its_metadata_is_not_asked_for(site, tmp_path):
    error = fails("too-long", at(site.add_audio("/a.flac"), announced_duration_s=20_000), tmp_path)
    assert (error.measured, sum(site.hits.values()), left(tmp_path)) == (20_000, 0, [])


def test_longer_than_allowed_is_found_out_while_it_is_decoded(site, tmp_path):
    error = fails("too-long", at(site.add_audio("/a.flac")), tmp_path, max_duration_s=3)
    assert isinstance(error, FetchFailed)
    assert (site.hits["/a.flac"], left(tmp_path)) == (1, [])


def test_a_fetch_ends_after_the_time_it_may_take(site, tmp_path):
    url = site.route("/a.flac", endless("audio/flac", b"\0" * 100, every_s=0.02))
    fails("too-long", at(url), tmp_path, max_fetch_s=0.3)
    assert (site.hits["/a.flac"], left(tmp_path)) == (1, [])


def test_a_silent_file_is_fetched_and_its_silence_noted(site, tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(RATE * 6), RATE, format="FLAC")
    url = site.route("/a.flac", lambda handler: handler.give_file(buffer.getvalue(), "audio/flac"))
    assert get(at(url), tmp_path).loudness_db == -120.0


@pytest.mark.parametrize(
    ("licence", "allowed", "is_fetched"),
    [
        ("CC0", ("cc0", "cc-by"), True), ("https://creativecommons.org/licenses/by/4.0/", ("cc0", "cc-by"), True),
        ("CC BY-NC 4.0", ("cc0", "cc-by"), False), ("Standard YouTube License", ("cc0",), False), ("", ("cc0",), False),
        ("", ("cc0", "unknown"), True), ("", (), True),
    ],
)  # fmt: skip
def test_only_what_has_an_allowed_licence_is_asked_for(site, tmp_path, licence, allowed, is_fetched):
    candidate = at(site.add_audio("/a.flac"), licence=licence)
    if is_fetched:
        assert get(candidate, tmp_path, licences=allowed).licence == licence
    else:
        fails("licence", candidate, tmp_path, licences=allowed)
        assert site.hits["/a.flac"] == 0


def test_a_page_may_name_the_licence_that_the_candidate_lacks(site, tmp_path):
    site.add_audio("/a.flac")
    head = '<link rel="license" href="https://creativecommons.org/publicdomain/zero/1.0/">'
    page = site.add_page("/a.html", "Sonata", ["/a.flac"], head=head)
    assert get(at(page), tmp_path, licences=("cc0",)).licence_code == "cc0"


def test_robots_txt_is_obeyed_and_asked_once(site, tmp_path):
    site.add("/robots.txt", "User-agent: *\nDisallow: /private/", "text/plain")
    web = a_web()
    fails("robots", at(site.add_audio("/private/a.flac"), name="web-a"), tmp_path, web)
    get(at(site.add_audio("/b.flac"), name="web-b"), tmp_path, web)
    assert (site.hits["/private/a.flac"], site.hits["/robots.txt"], left(tmp_path)) == (0, 1, ["web-b.flac"])


def test_a_site_that_cannot_say_its_rules_is_tried_later(site, tmp_path):
    site.route("/robots.txt", status(500))
    error = fails("network", at(site.add_audio("/a.flac")), tmp_path)
    assert isinstance(error, TemporaryError)
    assert site.hits["/a.flac"] == 0


def page_with_changing_addresses(site: Site, lasts: int) -> str:
    """A page that names the audio under another address at each visit; only the newest `lasts` of them work."""
    visits = [0]

    def page(handler: Handler) -> None:
        visits[0] += 1
        handler.give(200, f'<title>Sonata</title><audio src="/get/a.flac?visit={visits[0]}">'.encode())

    def audio(handler: Handler) -> None:
        visit = int(handler.path.rpartition("=")[2])
        if visits[0] - visit < lasts:
            handler.give_file(FLAC, "audio/flac")
        else:
            handler.give(404, b"expired", "text/plain")

    site.route("/get/a.flac", audio)
    return site.route("/a.html", page)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_an_address_that_has_run_out_is_asked_for_again_at_its_page(site, tmp_path, code):
    page = page_with_changing_addresses(site, lasts=1)
    old = site.route("/get/a.flac?visit=0", status(code))
    require_true(get(at(old, page, candidate_id_of("web", canonical(page))), tmp_path), FLAC, tmp_path)
    assert (site.hits["/get/a.flac?visit=0"], site.hits["/a.html"], site.hits["/get/a.flac?visit=1"]) == (1, 1, 1)


def test_addresses_that_never_work_end_after_one_fresh_look(site, tmp_path):
    page = page_with_changing_addresses(site, lasts=0)
    fails("gone", at(site.address("/get/a.flac?visit=0"), page, candidate_id_of("web", canonical(page))), tmp_path)
    assert (site.hits["/a.html"], left(tmp_path)) == (1, [])


@pytest.mark.parametrize("others", [["/b.flac"], ["/b.flac", "/c.flac"]])
def test_another_recording_of_the_page_is_never_taken_for_one_that_is_gone(site, tmp_path, others):
    for one in others:
        site.add_audio(one, number=1)
    page = site.add_page("/home.html", "A podcast", others)
    old = site.route("/a.flac", status(404))
    fails("gone", at(old, page), tmp_path)
    assert [site.hits[one] for one in others] == [0] * len(others)


def test_an_address_that_is_gone_is_not_asked_for_again_when_its_page_still_names_it(site, tmp_path):
    page = site.add_page("/a.html", "Sonata", ["/a.flac"])
    fails("gone", at(site.address("/a.flac"), page, candidate_id_of("web", canonical(page))), tmp_path)
    assert (site.hits["/a.flac"], site.hits["/a.html"]) == (1, 1)


def test_a_page_with_several_recordings_names_none_of_them(site, tmp_path):
    page = site.add_page("/a.html", "Recital", [site.add_audio("/a.flac"), site.add_audio("/b.flac")])
    fails("unsupported", at(page), tmp_path)
    assert left(tmp_path) == []


def test_one_recording_of_several_is_found_again_on_its_page(site, tmp_path):
    site.add_audio("/a.flac"), site.add_audio("/b.flac", number=1)
    page = site.add_page("/a.html", "Recital", ["/a.flac", "/b.flac"])
    second = site.address("/b.flac")
    site.once("/b.flac", status(403))
    require_true(get(at(second, page, candidate_id_of("web", canonical(second))), tmp_path), sound(8, 1), tmp_path)


def test_a_page_whose_address_changes_is_gone_on_with_only_at_the_same_address(site, tmp_path):
    page = page_with_changing_addresses(site, lasts=9)
    site.route("/get/a.flac?visit=1", cut_after(FLAC, 30_000))
    require_true(get(at(page), tmp_path), FLAC, tmp_path)


def test_a_page_that_only_yt_dlp_can_read_is_fetched_as_yt_dlp_says(site, tmp_path):
    site.add_audio("/hidden/a.flac")
    script = f'jwplayer("p").setup({{"file": "{site.address("/hidden/a.flac")}", "title": "Sonata"}});'
    page = site.add("/a.html", f'<html><body><div id="p"></div><script>{script}</script></body></html>')
    require_true(get(at(page), tmp_path), FLAC, tmp_path)


def stream(site: Site, tmp_path: Path, name: str, pieces: list[str]) -> str:
    """A playlist of pieces; "0", "1", "2" are the thirds of eight seconds of audio."""
    content = encode_audio(tmp_path / "audio" / "a.aac", melody(8, rate=48_000), "aac").read_bytes()
    third = len(content) // 3
    for number in range(3):
        part = content[number * third : (number + 1) * third if number < 2 else None]
        site.add(f"/{number}.aac", part, "audio/aac")
    lines = "".join(f"#EXTINF:2.7,\n{piece}.aac\n" for piece in pieces)
    body = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n{lines}#EXT-X-ENDLIST\n"
    return site.add(f"/{name}.m3u8", body, "application/vnd.apple.mpegurl")


@pytest.mark.parametrize("is_on_page", [True, False])
def test_a_stream_of_pieces_is_put_together(site, tmp_path, is_on_page):
    url = stream(site, tmp_path, "a", ["0", "1", "2"])
    page = site.add_page("/a.html", "Sonata", [url]) if is_on_page else url
    record = get(at(page), tmp_path / "dataset")
    assert (record.codec, record.duration_s) == ("aac", pytest.approx(8, abs=0.1))
    assert left(tmp_path / "dataset") == ["web-a.mp4"]
    assert [site.hits[f"/{number}.aac"] for number in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("piece", "kind"),
    [("file:///etc/passwd", "unsupported"), ("http://169.254.169.254/x", "refused"), ("gone", "gone")],
)
def test_no_piece_of_a_stream_leads_where_an_address_may_not(site, tmp_path, piece, kind):
    site.route("/gone.aac", status(404))
    url = stream(site, tmp_path, "a", ["0", piece, "2"])
    fails(kind, at(url), tmp_path / "dataset", max_tries=1)
    assert left(tmp_path / "dataset") == []


def test_a_page_without_audio_is_unsupported(site, tmp_path):
    fails("unsupported", at(site.add_page("/a.html", "About me", links=["/b"])), tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/a.flac", "http://user:secret@127.0.0.1/a.flac", "http://[::1]:9/a.flac",
        "http://10.1.2.3/a.flac", "http://localhost:9/a.flac", "row 3 of list.csv: nothing", "", "http://a\0b/",
        "data:audio/wav;base64,AAAA",
    ],
)  # fmt: skip
def test_what_may_not_be_asked_is_refused_in_one_line_without_secrets(tmp_path, url):
    error = fails("refused", at(url), tmp_path)
    assert "secret" not in str(error)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/b", "a\0b", "..", "", "-" * 300])
def test_no_id_from_outside_reaches_another_folder(site, tmp_path, name):
    root = tmp_path / "dataset"
    with pytest.raises(AriaDataError):
        get(at(site.add_audio("/a.flac"), name=name), root)
    assert left(tmp_path) == []


def test_no_secret_of_an_address_is_in_a_record_or_an_error(site, tmp_path):
    site.add_audio("/a.flac")
    record = get(at(site.address("/a.flac?token=hush&id=7")), tmp_path)
    assert "hush" not in str(record)
    assert "id=7" in record.fetched_from
    for answer in (status(404), status(500), cut_after(FLAC, 10), as_audio(b"x" * 99), announces(10**13), endless()):
        site.route("/b.flac", answer)
        with pytest.raises(AriaDataError) as caught:
            get(at(site.address("/b.flac?api_key=hush"), name="web-b"), tmp_path, max_bytes=3_000_000, max_tries=1)
        assert "hush" not in str(caught.value)


def test_the_budget_of_requests_ends_a_fetch_at_once(site, tmp_path):
    waits: list[float] = []
    web = a_web(budget=RequestBudget(2))
    with pytest.raises(RequestsSpent):
        download(at(site.add_audio("/a.flac")), tmp_path, DownloadConfig(), web, waits.append)
    assert (waits, site.hits["/a.flac"]) == ([], 0)


def test_a_full_disk_is_the_datasets_trouble_and_not_the_candidates(site, tmp_path, monkeypatch):
    def full(path: Path, num_bytes: int) -> None:
        raise DatasetNotWritable(f"{path}: no space left on the device.")

    monkeypatch.setattr(response_checks, "require_space", full)
    with pytest.raises(DatasetNotWritable):
        get(at(site.add_audio("/a.flac")), tmp_path)


def test_a_folder_that_may_not_be_written_is_the_datasets_trouble(site, tmp_path):
    candidate = at(site.add_audio("/a.flac"))
    bucket = partial_path(tmp_path, candidate.candidate_id).parent
    bucket.parent.mkdir()
    bucket.write_text("a file where a folder should be")
    with pytest.raises(DatasetNotWritable):
        get(candidate, tmp_path)


def test_a_link_in_the_audio_folder_is_not_followed(site, tmp_path):
    root, outside = tmp_path / "dataset", tmp_path / "precious"
    outside.write_text("mine")
    candidate = at(site.add_audio("/a.flac"))
    partial = partial_path(root, candidate.candidate_id)
    partial.parent.mkdir(parents=True)
    partial.symlink_to(outside)
    partial.with_name("web-a.flac").symlink_to(outside)
    require_true(get(candidate, root), FLAC, root)
    assert outside.read_text() == "mine"
    assert not (root / get(candidate, root).audio_path).is_symlink()


def test_many_candidates_in_threads_do_not_disturb_each_other(site, tmp_path):
    names = [f"web-{number}" for number in range(16)]
    for number, name in enumerate(names):
        site.add_audio(f"/{name}.flac", seconds=3, number=number)
        if number % 4 == 1:
            site.once(f"/{name}.flac", cut_after(sound(3, number), 20_000))
        if number % 4 == 2:
            site.once(f"/{name}.flac", status(503))
        if number % 4 == 3:
            site.route(f"/{name}.flac", (status(404), announces(10**11), redirect("http://10.0.0.1/"))[number % 3])
    web, busy, most, lock = a_web(max_parallel=3), [0], [0], threading.Lock()

    def one(name: str) -> Download | AriaDataError:
        try:
            return get(at(site.address(f"/{name}.flac"), name=name), tmp_path, web)
        except AriaDataError as error:
            return error

    def counted(answer: Answer) -> Answer:
        def counting(handler: Handler) -> None:
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            try:
                answer(handler)
            finally:
                with lock:
                    busy[0] -= 1

        return counting

    site.routes = {path: counted(answer) for path, answer in site.routes.items()}
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(one, names))
    for number, (name, end) in enumerate(zip(names, ends, strict=True)):
        if number % 4 == 3:
            assert isinstance(end, FetchFailed | AddressRefused), name
        else:
            assert isinstance(end, Download), end
            require_true(end, sound(3, number), tmp_path)
    assert most[0] <= 3
    assert left(tmp_path) == sorted(f"{name}.flac" for number, name in enumerate(names) if number % 4 != 3)


def test_the_same_bytes_give_the_same_record_wherever_they_were_fetched(site, tmp_path):
    first = get(at(site.add_audio("/a.flac")), tmp_path / "one")
    second = get(at(site.address("/a.flac")), tmp_path / "two")
    assert (first.samples_sha256, first.audio_path) == (second.samples_sha256, second.audio_path)
    assert sha256_file(tmp_path / "one" / first.audio_path) == first.audio_sha256


def test_an_mp3_with_a_wrong_name_is_what_it_holds(site, tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, melody(8), RATE, format="MP3")
    url = site.route("/a.flac", lambda handler: handler.give_file(buffer.getvalue(), "audio/flac"))
    assert get(at(url), tmp_path).codec in ("mp3", "mp3float")
