"""An attacker's hour: whatever an address, a header, a title or a file says, nothing executes, leaks or hangs."""

from __future__ import annotations

import socket
from urllib.parse import quote, urlsplit

import httpx
import pytest
from browsing import TOKEN, Visitor, Watched, chromium
from datasets_made import make_rows, row_with_midi, song

from aria_data.manifest import Manifest
from aria_data.release.reviews import Reviews

HOSTILE = (
    "</title></script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\"{{7*7}}"
)
SECRET = "root:x:0:0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    rows = make_rows(root, 5, start_s=0.0, end_s=2.0)
    texts = ("title", "composer", "performer", "licence", "source_url", "genre", "notes_cluster", "composition_id")
    for row in rows[:2]:
        row |= dict.fromkeys(texts, HOSTILE)
    rows.append(row_with_midi(root, f"web-{HOSTILE}_0", song(9), title="\x00\x1b[31m\u202e" + HOSTILE))
    rows[4]["midi_path"] = "../../../../etc/passwd"
    Manifest(root).commit(rows)
    return root


@pytest.fixture(scope="module")
def visitor(root):
    with Visitor(root) as one:
        yield one


@pytest.mark.parametrize(
    "where",
    [
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(SELECT count(*) FROM read_text('/etc/passwd')) > 0",
        "segment_id IN (FROM glob('/etc/*'))",
        "1=1); COPY held TO '/tmp/taken.csv'; --",
        "1=1; ATTACH '/tmp/taken.db'",
        "1=1; PRAGMA database_list",
        "1=1; SET lock_configuration=false",
        "1=1; INSTALL httpfs",
        "1=1) UNION SELECT 1 --",
        "1=1) OR (1=1",
        "current_setting('memory_limit') <> ''",
        "getenv('HOME') <> ''",
        "getvariable('x') IS NULL",
        "length(repeat('x', 4000000000)) > 0",
        "levenshtein(repeat('a', 100000), repeat('b', 100000)) > 0",
        "len(range(10000000000)) > 0",
        "list_sum(list_transform(range(100000000), lambda x: x * x)) > 0",
        "(WITH RECURSIVE t AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM t) SELECT count(*) FROM t) > 0",
        "lpad(title, 2000000000, 'x') <> ''",
        "sleep_ms(100000) IS NULL",
        "nextval('x') > 0",
        "query('SELECT 1') IS NULL",
        "(SELECT max(hash(a.segment_id || b.segment_id)) FROM held a, held b) > 0",
        "$1 = 1",
        "row_number() OVER () > 0",
        "count(*) > 0",
        "COLUMNS('.*') IS NULL",
        "title = 'x' COLLATE NOCASE",
        "main.repeat('x', 4000000000) <> ''",
        "regexp_matches(title, '(((a{1000}){1000}){1000}){1000}')",
        "title SIMILAR TO (SELECT content FROM read_text('/etc/passwd'))",
        "[1]::INT[1000000000] IS NULL",
        "array_agg(title) IS NULL",
        "printf('%1000000000d', 1) <> ''",
        "title.repeat(1000000000) <> ''",
        "EXISTS (FROM '/etc/passwd')",
        "1=1 LIMIT 1",
        "1=1 ORDER BY random()",
        "present.title IS NULL",
        "/* */ --",
        "\x00",
    ],
)
@pytest.mark.timeout(30)  # one that was carried out would hang
def test_no_condition_reads_files_changes_anything_or_goes_on_for_ever(visitor, where):
    answer = visitor.get("/", params={"where": where})
    assert answer.status_code == 400, answer.text
    assert SECRET not in answer.text
    assert visitor.get("/").status_code == 200


def test_a_condition_of_many_brackets_or_words_has_an_answer(visitor):
    for where in ("(" * 900 + "true" + ")" * 900, "NOT " * 480 + "true", " OR ".join(["true"] * 240), "-" * 1900 + "1"):
        assert visitor.get("/", params={"where": where}).status_code in (200, 400)


@pytest.mark.parametrize(
    "where",
    ["title LIKE '%<script>%'", "lower(composer) = 'erik satie' AND NOT in_pruned", "num_notes BETWEEN 1 AND 3",
     "split IN ('train', 'test')", "CASE WHEN in_unique THEN num_notes ELSE 0 END >= 0", "midi_sha256 IS NOT NULL",
     "regexp_matches(title, 'x+')", "duration_s * 2 > 1 OR abs(audio_score) < 9"],
)  # fmt: skip
def test_what_people_ask_of_columns_is_answered(visitor, where):
    answer = visitor.get("/", params={"where": where})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["host", "origin", "referer", "x-forwarded-host", "cookie", "range", "accept"])
def test_a_hostile_header_is_no_trouble(visitor, name):
    path = "/notes.wav?id=local-0002_0" if name == "range" else "/"
    for value in (HOSTILE.encode(), b"x" * 4000, b"bytes=99999999999999999999-", b"bytes=0-0,5-9", "bytes=²-".encode()):
        answer = visitor.get(path, headers={name.encode(): value})
        assert answer.status_code in (200, 206, 400, 403)
        assert "<script>document" not in answer.text[:5000]


def test_a_name_that_was_made_to_point_here_gets_nothing(visitor):
    """DNS rebinding: the page of another site, whose name now means this machine, asks with that name."""
    port = urlsplit(visitor.origin).port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"127.0.0.1:{port}@evil",
        "[::1",
        "",
    ):
        answer = visitor.get(f"/?token={quote(TOKEN)}", headers={"host": host}, follow_redirects=False)
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers


def test_two_hosts_and_a_whole_address_get_nothing_more(visitor):
    port = urlsplit(visitor.origin).port
    for request in (
        f"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nCookie: aria_data_token_{port}={TOKEN}\r\n\r\n",
        f"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as asked:
            asked.sendall(request.encode())
            answer = asked.recv(4000).decode("latin-1")
        assert answer.split()[1] in ("400", "403")
        assert SECRET not in answer


def test_other_methods_change_nothing(visitor, root):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/", "/segment?id=local-0000_0", "/review", "/static/table.js"):
            if (method, path) != ("POST", "/review"):
                answer = visitor.client.request(method, path, headers={"origin": visitor.origin})
                assert answer.status_code in (400, 404, 405)
    assert not Reviews(root).all()


def test_a_review_by_get_or_with_a_strangers_cookie_is_none(visitor, root):
    assert visitor.get("/review", params={"id": "local-0000_0", "verdict": "bad"}).status_code == 405
    with httpx.Client(base_url=visitor.origin, trust_env=False) as stranger:
        headers = {"origin": visitor.origin, "cookie": f"aria_data_token_{urlsplit(visitor.origin).port}=guess"}
        assert (
            stranger.post("/review", data={"id": "local-0000_0", "verdict": "bad"}, headers=headers).status_code == 403
        )
    assert not Reviews(root).all()


def test_where_a_review_leads_stays_here(visitor):
    queue = "x=1\r\nSet-Cookie: a=b\r\nLocation: http://evil.example//"
    data = {"id": "local-0002_0", "verdict": "good", "then": "next", "queue": queue}
    answer = visitor.client.post("/review", data=data, headers={"origin": visitor.origin}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/next?")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [f"/segment?id=local-0002_0&{'a=b&' * 1500}", "/?page=99999999", "/?page=" + "9" * 400, "/?min_duration_s=1e999",
     "/?min_duration_s=nan&max_duration_s=-inf", "/?sort=" + quote(HOSTILE), f"/?composer={quote(HOSTILE)}&composer=x",
     "/?q=" + "%F0%9F%8E%B9" * 200, "/?q=%ff%fe%00", "/next?seed=" + "7" * 3000,
     f"/rejected?page=-1&reason={quote(HOSTILE)}",
     "/changes?page=12345678", "/reviews?page=999999", "/?review=" + quote(HOSTILE)],
)  # fmt: skip
def test_huge_or_odd_parameters_have_an_answer(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code in (200, 404, 414)
    assert "<script>document" not in answer.text


@pytest.mark.parametrize("name", ["id", "with"])
def test_no_id_leads_to_a_file(visitor, name):
    ids = ("../../etc/passwd", "file:///etc/passwd", "/etc/passwd", "local-0000_0/../../x", "' OR 1=1 --", "\x00")
    paths = ("/segment", "/copies", "/notes.wav", "/recording.wav", "/spectrogram.png", "/copies.json", "/item.png")
    for value in ids:
        for path in paths:
            answer = visitor.get(path, params={"id": "local-0000_0", "with": "local-0001_0", name: value})
            assert SECRET not in answer.text
            assert answer.status_code in (200, 404) if name == "with" else answer.status_code == 404


def test_a_row_whose_file_is_outside_the_dataset_is_not_played(visitor):
    for path in ("/notes.json", "/notes.wav"):
        answer = visitor.get(path, params={"id": "local-0004_0"})
        assert answer.status_code == 400
        assert SECRET not in answer.text


def test_hostile_titles_and_ids_do_nothing_in_a_real_browser(visitor, root):
    with chromium() as browser:
        watched = Watched(browser, base_url=visitor.origin)
        watched.page.goto(f"/?token={quote(TOKEN)}")
        ids = [row["segment_id"] for row in Manifest(root).rows()]
        pages = ["/", f"/?q={quote(HOSTILE)}", "/rejected", "/reviews", f"/?where={quote(HOSTILE)}"]
        pages += [f"/segment?id={quote(one)}" for one in ids]
        pages += [f"/copies?id={quote(ids[0])}&with={quote(ids[1])}"]
        for path in pages:
            watched.page.goto(path)
            watched.page.wait_for_timeout(200)
            assert watched.page.title() != "taken"
            assert watched.page.locator("img[src=x]").count() == 0
        assert watched.asked <= {visitor.origin.replace("//", "")}
        assert not [text for text in watched.said if "Content Security Policy" in text]
        watched.context.close()
