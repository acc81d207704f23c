"""The web client: real requests against a local server that misbehaves."""

from __future__ import annotations

import gzip
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from web_server import Site, announces, cut_after, endless, raw, redirect, status

from aria_data.errors import AriaDataError, ConfigInvalid
from aria_data.web import (
    KINDS,
    FetchDelayed,
    FetchFailed,
    HostResting,
    Page,
    RequestBudget,
    RequestsSpent,
    Web,
    WebConfig,
    kind_of,
    request_policy,
    require_unreserved,
    ytdlp_handler,
)
from aria_data.web.failures import kind_of_message, kind_of_status, require_kind
from aria_data.web.pacing import Pacer, PacingConfig
from aria_data.web.robots import Robots, _fits, reservation_in
from aria_data.web.ytdlp_handler import retry_after_s


def a_web(**settings) -> Web:
    return Web(WebConfig(**{"allow_hosts": ("127.0.0.1",), "min_interval_s": 0.0, "max_failures": 1000, **settings}))


@pytest.fixture
def site():
    with Site() as site:
        yield site


def fails(web: Web, url: str, kind: str) -> AriaDataError:
    with pytest.raises(AriaDataError) as caught:
        web.get(url)
    assert kind_of(caught.value) == kind
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_page_comes_with_its_words_in_its_own_encoding(site):
    url = site.add("/a", "grüß".encode("latin-1"), "text/html; charset=latin-1")
    page = a_web().get(url)
    assert (page.text(), page.content_type, page.status) == ("grüß", "text/html", 200)


def test_every_request_says_who_asks_and_pretends_nothing(site):
    a_web(contact="me@example.org").get(site.add("/a", "x"))
    headers = site.requests[0][2]
    assert headers["User-Agent"].startswith("aria-data/")
    assert "me@example.org" in headers["User-Agent"]
    assert not [name for name in headers if name.lower().startswith("sec-")]


def test_a_body_that_nobody_wants_is_not_read(site):
    url = site.route("/a", announces(10_000_000_000))
    page = a_web().get(url, wants=lambda content_type: content_type.startswith("text/"))
    assert (page.is_read, page.body) == (False, b"")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(404), "gone"), (status(410), "gone"), (status(401), "private"), (status(403), "forbidden"),
        (status(451), "copyright"), (status(429), "rate-limited"), (status(500), "network"), (status(503), "network"),
        (cut_after(b"x" * 1000, 10), "network"), (announces(1_000_000), "network"), (endless(), "network"),
        (redirect("/b"), "unsupported"), (redirect("file:///etc/passwd"), "unsupported"),
        (redirect("http://10.0.0.1/"), "refused"), (redirect("http://[::ffff:169.254.169.254]/"), "refused"),
        (redirect("http://2130706433:1/"), "refused"),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_a_kind(site, answer, kind):
    site.route("/b", answer)
    fails(a_web(max_page_bytes=200_000, page_deadline_s=5.0), site.address("/b"), kind)


def test_a_name_that_leads_into_the_own_network_is_refused_where_it_is_resolved(site, monkeypatch):
    site.add("/a", "secret")
    real = request_policy.socket.getaddrinfo
    monkeypatch.setattr(  # no foreign name server is used here; its answer is replaced
        request_policy.socket,
        "getaddrinfo",
        lambda host, *rest: real("127.0.0.1" if host == "evil.example" else host, *rest),
    )
    port = site.server.server_port
    fails(a_web(), f"http://evil.example:{port}/a", "refused")
    assert not site.hits
    assert a_web(allow_hosts=("evil.example",)).get(f"http://evil.example:{port}/a").body == b"secret"


def test_a_packed_answer_is_unpacked_within_bounds(site):
    site.add("/fine", gzip.compress(b"hello"), content_encoding="gzip")
    site.add("/bomb", gzip.compress(b"0" * 50_000_000), content_encoding="gzip")
    site.add("/odd", b"x", content_encoding="br")
    web = a_web(max_page_bytes=1_000_000)
    assert web.get(site.address("/fine")).body == b"hello"
    fails(web, site.address("/bomb"), "network")
    fails(web, site.address("/odd"), "network")


def test_an_answer_that_drips_ends(site, monkeypatch):
    monkeypatch.setattr(ytdlp_handler, "DRIP_AFTER_S", 0.3)
    site.route("/a", endless("text/html", b"x", every_s=0.05))
    assert "the answer drips" in str(fails(a_web(), site.address("/a"), "network"))


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"<html>no header at all</html>"), raw(b""), raw(b"HTTP/1.1 99999999999 OK\r\n\r\n"),
        raw(OK + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"), raw(OK, b"X: " + b"x" * 60_000 + b"\r\n"),
        raw(OK, b"X", every_s=0.05), raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.001),
        raw(CHUNKED + b"ZZZ\r\nhello\r\n"), raw(CHUNKED + b"5\r\nhello\r\nff\r\nab"),
        raw(CHUNKED + b"f" * 15 + b"\r\nab"), raw(OK + b"Content-Encoding: gzip\r\n\r\n", b"x", every_s=0.05),
        raw(OK + b"Content-Encoding: " + b"gzip, " * 9000 + b"\r\n\r\nx"),
    ],
    ids=["HTTP 0.9", "nothing", "odd status", "long header", "headers for ever", "dripping headers", "100 for ever",
         "odd chunks", "cut chunks", "huge chunk", "dripping and packed", "packed many times"],
)  # fmt: skip
@pytest.mark.timeout(50)  # a guard against hanging: some of these never end, and without a deadline of ours take 60 s
def test_a_server_that_speaks_nonsense_is_left(site, answer):
    fails(a_web(page_deadline_s=0.5), site.route("/a", answer), "network")
    assert site.hits["/a"] == 1


def test_the_body_of_a_redirect_is_not_read(site):
    site.add("/b", "there")
    site.route("/a", raw(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n", b"x" * 65_536))
    assert a_web().get(site.address("/a")).body == b"there"


def test_a_site_cannot_fill_the_memory_with_cookies(site):
    web = a_web()
    for number, cookies in enumerate((1, 60)):
        given = b"".join(b"Set-Cookie: a%d=1\r\n" % n for n in range(cookies))
        web.get(site.route(f"/{number}", raw(OK + given + b"Content-Length: 2\r\n\r\nhi")))
    web.get(site.route("/big", raw(OK + b"Set-Cookie: b=" + b"x" * 60_000 + b"\r\nContent-Length: 2\r\n\r\nhi")))
    web.get(site.add("/last", "x"))
    assert site.requests[-1][2]["Cookie"] == "a0=1"


@pytest.mark.parametrize(
    ("pattern", "path", "does_fit"),
    [
        ("/", "/a", True), ("/music/*", "/music/a", True), ("/music/", "/other", False), ("/a$", "/a", True),
        ("/a$", "/ab", False), ("*.mp3$", "/x/a.mp3", True), ("/*/b*c$", "/a/bxc", True), ("/*/b*c$", "/a/bxcd", False),
        ("/ab*b$", "/ab", False), ("/" + "*a" * 60 + "b", "/" + "a" * 1900, False), ("", "/a", True),
    ],
)  # fmt: skip
def test_a_location_of_tdmrep_json_fits_in_a_time_that_nobody_can_make_long(pattern, path, does_fit):
    assert _fits(pattern, f"http://a.org{path}") == does_fit


def test_a_silent_server_is_not_waited_for_longer_than_the_time_out(site):
    has_ended = threading.Event()
    site.route("/a", lambda handler: has_ended.wait())  # it says nothing for as long as anybody waits
    fails(a_web(timeout_s=0.3), site.address("/a"), "network")
    has_ended.set()


def test_a_budget_of_requests_ends_before_it_is_exceeded(site):
    url = site.add("/a", "x")
    web = Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0), RequestBudget(2))
    web.get(url), web.get(url)
    with pytest.raises(RequestsSpent):
        web.get(url)
    assert site.hits["/a"] == 2


def test_cookies_that_are_not_there_are_a_mistake_of_the_configuration():
    with pytest.raises(ConfigInvalid, match="web.cookies"):
        Web(WebConfig(cookies="/nowhere/cookies.txt"))


def test_a_host_that_asks_for_patience_gets_it(site):
    site.add("/a", "x")
    site.once("/a", status(429, retry_after="7"))
    clock, config = Clock(), WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0)
    web = Web(config, None, Pacer(config.pacing(), lambda: clock.now, clock.sleep))
    fails(web, site.address("/a"), "rate-limited")
    assert clock.slept == []
    assert web.get(site.address("/a")).body == b"x"
    assert clock.slept == [pytest.approx(7.0)]


def test_a_host_that_asks_for_more_than_anyone_would_wait_rests(site):
    site.route("/a", status(503, retry_after="9000"))
    web = a_web()
    fails(web, site.address("/a"), "network")
    with pytest.raises(HostResting):
        web.get(site.address("/a"))
    assert site.hits["/a"] == 1


def test_after_so_many_failures_in_a_row_a_host_rests_and_another_does_not(site):
    site.route("/a", status(500))
    web = a_web(max_failures=3)
    for _ in range(3):
        fails(web, site.address("/a"), "network")
    with pytest.raises(HostResting):
        web.get(site.address("/a"))
    with Site() as other:
        assert web.get(other.add("/a", "x")).body == b"x"


class Clock:
    def __init__(self) -> None:
        self.now, self.slept = 100.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_requests_to_one_host_keep_their_distance_with_jitter_and_others_do_not_wait():
    clock = Clock()
    pacer = Pacer(PacingConfig(min_interval_s=1.0, jitter=0.5), lambda: clock.now, clock.sleep, seed=1)
    starts = []
    for _ in range(20):
        pacer.wait("a.example")
        starts.append(clock.now)
    gaps = [second - first for first, second in zip(starts, starts[1:], strict=False)]
    assert all(1.0 <= gap <= 1.5 for gap in gaps)
    assert len({round(gap, 6) for gap in gaps}) > 10
    before = clock.now
    pacer.wait("b.example")
    assert clock.now == before


def test_a_crawl_delay_counts_more_than_the_configuration():
    clock = Clock()
    pacer = Pacer(PacingConfig(min_interval_s=0.0, jitter=0.0), lambda: clock.now, clock.sleep)
    pacer.slow_down("a.example", 5.0)
    pacer.wait("a.example")
    pacer.wait("a.example")
    assert clock.slept == [5.0]


def test_a_host_has_so_many_places_and_no_more():
    pacer = Pacer(PacingConfig(max_parallel=2))
    inside, most, lock = [0], [0], threading.Lock()

    def hold() -> None:
        with pacer.place("a.example"):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == [2]


def test_retry_after_is_a_number_or_a_date_and_never_more_than_a_day():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90))
    assert retry_after_s("7") == 7.0
    assert 80 < (retry_after_s(soon) or 0) < 91
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("1e99") == 86_400.0
    assert [retry_after_s(value) for value in (None, "", "soon", "nan,")] == [None] * 4


def test_robots_txt_is_asked_once_and_obeyed(site):
    site.add(
        "/robots.txt",
        "User-agent: *\nDisallow: /secret\nCrawl-delay: 0.01\n\nUser-agent: other\nDisallow: /",
        "text/plain",
    )
    robots = Robots(web := a_web())
    for path in ("/a", "/b"):
        robots.require(site.address(path))
    with pytest.raises(FetchFailed) as caught:
        robots.require(site.address("/secret/a.mp3"))
    assert caught.value.reason == "robots"
    assert site.hits["/robots.txt"] == 1
    del web


@pytest.mark.parametrize(("answer", "is_open"), [(status(404), True), (status(403), True), (status(500), False)])
def test_a_site_without_robots_txt_is_open_and_one_that_cannot_say_is_not(site, answer, is_open):
    site.route("/robots.txt", answer)
    robots = Robots(web := a_web())
    if is_open:
        robots.require(site.address("/a"))
    else:
        with pytest.raises(FetchDelayed):
            robots.require(site.address("/a"))
    del web


def test_a_reservation_in_tdmrep_json_is_obeyed(site):
    site.add("/.well-known/tdmrep.json", '[{"location": "/music/*", "tdm-reservation": 1}]', "application/json")
    robots = Robots(web := a_web())
    robots.require(site.address("/other/a.mp3"))
    with pytest.raises(FetchFailed):
        robots.require(site.address("/music/a.mp3"))
    del web


@pytest.mark.parametrize(
    ("headers", "is_reserved"),
    [
        ({"x-robots-tag": "noai"}, True), ({"x-robots-tag": "nofollow, NoIndex"}, True),
        ({"x-robots-tag": "all"}, False),
        ({"x-robots-tag": "aria-data: noai"}, True), ({"x-robots-tag": "otherbot: noai"}, False),
        ({"tdm-reservation": "1"}, True), ({"tdm-reservation": "0"}, False), ({}, False),
    ],
)  # fmt: skip
def test_headers_that_reserve_an_answer(headers, is_reserved):
    assert bool(reservation_in(headers)) == is_reserved


@pytest.mark.parametrize(
    "tag", ['<meta name="tdm-reservation" content="1">', "<META content='noai, noimageai' name=robots>"]
)
def test_a_page_can_reserve_itself(tag):
    page = Page("http://example.org/", 200, {"content-type": "text/html"}, f"<html><head>{tag}".encode())
    with pytest.raises(FetchFailed):
        require_unreserved(page)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Sign in to confirm you’re not a bot. Use --cookies", "bot-check"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "age"),
        ("Private video. Sign in if you've been granted access to this video", "private"),
        ("Video unavailable. This video is no longer available because the account has been terminated", "gone"),
        ("Video unavailable. This video contains content from S, who blocked it on copyright grounds", "copyright"),
        ("The uploader has not made this video available in your country", "geo"),
        ("Your account has been rate-limited by YouTube for up to an hour", "rate-limited"),
        ("HTTP Error 429: Too Many Requests", "rate-limited"), ("This live event will begin in 3 hours", "live"),
        ("Join this channel to get access to members-only content", "private"), ("Connection reset by peer", "network"),
    ],
)  # fmt: skip
def test_what_sites_say_is_one_of_the_kinds(words, kind):
    assert kind_of_message(words) == kind


def test_every_kind_says_what_happens_next_and_every_status_has_one():
    assert all(kind.next_step for kind in KINDS.values())
    assert {kind_of_status(code) for code in range(300, 600)} <= set(KINDS)
    assert require_kind("rate_limited") == "rate-limited"
