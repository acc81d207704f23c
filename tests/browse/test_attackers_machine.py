"""An attacker's hour, continued: another site's page in the same browser, sockets that wait, sounds in odd parts, and
files of a dataset that somebody else made."""

from __future__ import annotations

import http.server
import socket
import threading
from urllib.parse import quote, urlsplit

import httpx
import pytest
from browsing import TOKEN, Visitor, Watched, chromium
from datasets_made import make_rows, row_with_midi

from aria_data.manifest import Manifest
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.records import Recording
from aria_data.release.reviews import Reviews
from aria_data.storage.stage_tables import DONE, Outcome, StageTable

LONG_NOTE = Performance([Note(0.0, 1.0, 60, 64), Note(8.0e6, 8.0e6 + 5, 60, 64)])
TOKENS = (TOKEN, quote(TOKEN))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Rows with absurd spans, notes in a hundred days, audio that is a playlist or a device."""
    root = tmp_path_factory.mktemp("foreign")
    rows = make_rows(root, 6, start_s=0.0, end_s=2.0, duration_s=2.0)
    for row, span in zip(
        rows, [(0.0, 1e300), (-1e300, 1e300), (1e308, 2.0), (float("nan"), float("nan"))], strict=False
    ):
        row |= {"start_s": span[0], "end_s": span[1], "duration_s": span[1]}
    rows.append(row_with_midi(root, "local-late_0", midi_bytes(LONG_NOTE), start_s=0.0, end_s=9e6, duration_s=9e6))
    Manifest(root).commit(rows)
    secret = root.parent / "secret.txt"
    secret.write_text("a secret")
    playlist = root / "list.flac"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n")
    places = [playlist.as_uri(), "file:///dev/zero", "http://127.0.0.1:9/x.wav", "concat:/etc/passwd", "file:///", ""]
    table = StageTable(root, "ingest", Recording)
    for row, place in zip(rows, places, strict=False):
        one = row["recording_id"]
        found = Recording(one, one, place, "a" * 64, "b" * 64, 2.0, 44_100, 1, "flac", -20.0, -1.0)
        table.append([Outcome(one, one, DONE, record=found)])
    return root


@pytest.fixture(scope="module")
def visitor(root):
    with Visitor(root) as one:
        yield one


@pytest.mark.timeout(120)  # one that was carried out would fill the memory or hang
@pytest.mark.parametrize(
    "path", ["/recording.wav", "/spectrogram.png", "/spectrogram.png?coarse=1", "/notes.wav", "/notes.json"]
)
def test_absurd_rows_and_audio_that_is_none_have_an_answer(visitor, root, path):
    for row in Manifest(root).rows():
        answer = visitor.get(path + ("&" if "?" in path else "?") + f"id={row['segment_id']}")
        assert answer.status_code in (200, 400, 404), (row["segment_id"], answer.text)
        assert "secret" not in answer.text[:2000]
        assert len(answer.content) < 200_000_000
        assert visitor.get(f"/segment?id={row['segment_id']}").status_code == 200


@pytest.mark.parametrize(
    "header",
    ["bytes=5-2", "bytes=-5", "bytes=0-0,2-3", "items=0-1", "bytes=0x0-5", "bytes=99999999999999999999-", "bytes=--1",
     "bytes=" + "0-1," * 900, "bytes=0-99999999999", "bytes=44-", "bytes= 0-1", "0-1", "bytes=1e3-", "bytes=\t0-1"],
)  # fmt: skip
def test_an_odd_part_of_a_sound_gives_no_more_than_the_sound(visitor, header):
    whole = visitor.get("/notes.wav?id=local-0005_0").content
    answer = visitor.get("/notes.wav?id=local-0005_0", headers={"range": header})
    assert answer.status_code in (200, 206)
    if answer.status_code == 206:
        start = int(answer.headers["content-range"].split()[1].split("-")[0])
        assert answer.content == whole[start : start + len(answer.content)]
    else:
        assert answer.content == whole


@pytest.mark.parametrize("path", ["/", "/nothing", "/notes.wav?id=local-0005_0", "/static/table.js", "/?token=guess"])
def test_nothing_is_kept_by_a_browser_and_no_answer_holds_the_token(visitor, path):
    answer = visitor.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    for token in TOKENS:
        assert token.encode() not in answer.content
        assert token not in str(answer.url)
        assert token not in answer.headers.get("location", "")


def test_the_address_with_the_token_leads_to_one_without(visitor):
    with httpx.Client(base_url=visitor.origin, trust_env=False) as stranger:
        answer = stranger.get("/", params={"token": TOKEN, "q": "x"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/?q=x"
        given = answer.headers["set-cookie"].lower()
        assert "httponly" in given
        assert "samesite=strict" in given


def test_two_servers_at_once_let_the_same_browser_in(visitor, tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 1))
    with Visitor(tmp_path) as other, httpx.Client(trust_env=False, follow_redirects=True) as browser:
        for one in (visitor, other):
            assert browser.get(f"{one.origin}/", params={"token": TOKEN}).status_code == 200
        for one in (visitor, other):
            assert browser.get(f"{one.origin}/").status_code == 200
        assert len(browser.cookies) == 2


def test_a_websocket_is_not_opened(visitor):
    port = urlsplit(visitor.origin).port
    for cookie in ("", f"Cookie: aria_data_token_{port}={TOKEN}\r\n"):
        request = (
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=30) as asked:
            asked.sendall(request.encode())
            assert asked.recv(4000).split()[1] != b"101"


def test_sockets_that_say_nothing_or_a_letter_at_a_time_hold_up_nobody(visitor):
    port = urlsplit(visitor.origin).port
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(100)]
    try:
        for number, each in enumerate(waiting[:50]):
            each.sendall(b"GET /?q=" + b"x" * number)
        assert visitor.get("/").status_code == 200
        for each in waiting[:50]:
            each.sendall(b"y")
        assert visitor.get("/segment?id=local-0005_0").status_code == 200
    finally:
        for each in waiting:
            each.close()


def test_pages_are_answered_while_many_wait_for_pictures_and_sounds(visitor, monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr("flows.browse.loads.spectrogram_png", lambda *_: may_end.wait(60) and b"")

    def ask(number: int) -> None:
        with httpx.Client(base_url=visitor.origin, cookies=visitor.client.cookies, trust_env=False) as one:
            one.get(f"/spectrogram.png?id=local-0005_0&from=0&to={number / 100}", timeout=60)

    askers = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(40)]
    try:
        for asker in askers:
            asker.start()
        for path in ("/", "/segment?id=local-0005_0", "/notes.json?id=local-0005_0", "/reviews"):
            assert visitor.get(path, timeout=30).status_code == 200
    finally:
        may_end.set()
        for asker in askers:
            asker.join(60)


EVIL = """<!doctype html><title>evil</title><body><img id=i src="{site}/spectrogram.png?id=local-0005_0">
<script src="{site}/static/table.js"></script><iframe id=f src="{site}/"></iframe><iframe name=t></iframe>
<form id=p method=post action="{site}/review" target=t><input name=id value=local-0005_0>
<input name=verdict value=bad></form><audio id=a src="{site}/notes.wav?id=local-0005_0"></audio>
<script>
document.getElementById("p").submit();
const all = {credentials: "include"}, form = {"content-type": "application/x-www-form-urlencoded"};
fetch("{site}/", all).then((a) => a.text()).then((t) => { window.got = t; }, () => { window.got = ""; });
fetch("{site}/review", {...all, method: "POST", mode: "no-cors", headers: form, body: "id=local-0005_0&verdict=bad"})
  .finally(() => { window.sent = true; });
</script>"""


@pytest.fixture
def other_site(visitor):
    """Another site on this machine, whose page tries what a page can try."""
    page = EVIL.replace("{site}", visitor.origin)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_another_sites_page_in_the_same_browser_sees_and_changes_nothing(visitor, root, other_site, name):
    """The same host with another port is the same site: cookies are sent, and what keeps it out is the origin."""
    with chromium() as browser:
        watched = Watched(browser, base_url=visitor.origin)
        watched.page.goto(f"/?token={quote(TOKEN)}")
        watched.page.goto(f"http://{other_site.replace('127.0.0.1', name)}/")
        watched.until("window.sent && window.got !== undefined")
        watched.page.wait_for_timeout(300)
        assert watched.page.evaluate("window.got") == ""
        assert watched.page.evaluate("document.getElementById('i').naturalWidth") == 0
        assert watched.page.evaluate("document.getElementById('f').contentDocument") is None
        assert watched.page.evaluate("typeof wordAt") == "undefined"  # a script of ours was not run there
        watched.context.close()
    assert not Reviews(root).all()
