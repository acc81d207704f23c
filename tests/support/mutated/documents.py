"""Small texts of every kind that is read from outside, and ways to spoil them, with fixed seeds. Nothing is read here.

A text names the two decoys, a file and an address, in every way in which a reader could be made to open them.
"""

# ruff: noqa: E501 - texts as sites write them
from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

RSS = """<?xml version="1.0" encoding="utf-8"?><?xml-stylesheet href="{decoy}/s.xsl"?>
<!DOCTYPE rss [<!ENTITY own "Nocturne"><!ENTITY file SYSTEM "file://{file}">]>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:media="http://search.yahoo.com/mrss/"
 xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>Recitals &amp; more</title><link>{site}/</link>
<atom:link rel="next" href="{site}/2"/><itunes:author>Clara</itunes:author><copyright>CC BY 4.0</copyright>
<item><title><![CDATA[Chopin: <b>Nocturne</b> &amp;#233; Op. 9]]></title><link>{site}/1.html</link><category>piano</category>
<enclosure url="{site}/1.mp3" type="audio/mpeg" length="12345"/><itunes:duration>1:02:03</itunes:duration>
<description>&lt;p&gt;&file; Played alone&lt;/p&gt;</description><guid isPermaLink="false">1</guid></item>
<item><title>Étude &own;</title><media:content url="/2.ogg" type="audio/ogg" fileSize="99"/><pubDate>Mon, 1 Jun</pubDate></item>
<item><title>夜想曲</title><enclosure url="{site}/media/3" type="application/octet-stream"/></item>
<item><link>{decoy}/4.html</link></item></channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:base="{site}/base/"><title>Recitals</title>
<link rel="next" href="?page=2"/><author><name>Clara</name></author><rights>CC0</rights><entry><title type="html">Waltz
&amp;amp; Mazurka</title><link href="1.html"/><link rel="enclosure" href="1.mp3" type="audio/mpeg" length="8"/>
<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"/><summary type="xhtml"><div>a<br/>b</div></summary>
</entry><entry><title>Prelude</title><link rel="enclosure" href="{decoy}/x.mp3" type="audio/mpeg"/></entry></feed>"""
FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1", "title": "Recitals", "home_page_url": "{site}/", "next_url": "?2",
        "authors": [{"name": "Clara"}], "items": [
            {"id": "1", "url": "{site}/1.html", "title": "Nocturne \u00e9", "tags": ["piano", "solo"], "attachments": [
                {"url": "1.mp3", "mime_type": "audio/mpeg", "size_in_bytes": 12, "duration_in_seconds": 61.5}]},
            {"id": 2, "external_url": "{decoy}/", "content_html": "<p>Waltz</p>", "attachments": [
                {"url": "{site}/media/2", "title": "Waltz"}]},
            {"id": "3", "url": "3.html", "title": None}],
    }
)  # fmt: skip
PAGE = """<!DOCTYPE html><html lang=de><head><meta charset="utf-8"><base href="{site}/b/"><title>Recital &ndash; Clara</title>
<meta property="og:audio" content="og.mp3"><meta name=description content="Piano, alone"><link rel=canonical href="/own">
<link rel="alternate" type="application/rss+xml" href="feed.xml"><link rel=next href="?page=2">
<meta http-equiv="refresh" content="900; url={decoy}/"><script type="application/ld+json">{{"@context":"https://schema.org",
"@graph":[{{"@type":["AudioObject","X"],"name":"Nocturne","contentUrl":"1.mp3","duration":"PT4M5S","author":{{"name":"C"}},
"license":"https://creativecommons.org/licenses/by/4.0/"}},{{"@type":"MusicRecording","audio":{{"contentUrl":"9.flac"}}}}]}}
</script></head><body><h2>Op. 9</h2><figure><audio controls title="A"><source src="1.mp3" type="audio/mpeg"><source
src=1.ogg>no player</audio><figcaption>Nocturne No. 1</figcaption></figure><table><tr><td>2.</td><td>Waltz</td><td><a
href="2.mp3">Download</a> 3:05 <a href='2.flac'>FLAC</a></td></tr></table><ul><li><a href="/p?session=3&amp;x=1">next <img
alt="one"></a></li></ul><script class="wp-playlist-script" type="application/json">{{"type":"audio","tracks":[{{"src":
"7.mp3","title":"Etude","caption":"c"}}]}}</script><iframe src="{decoy}/embed"></iframe><video src="file://{file}"></video>
<object data="{decoy}/x.swf"></object><a rel="license" href="https://creativecommons.org/publicdomain/zero/1.0/">CC0</a>
<!-- <audio src="hidden.mp3"> --><p>text</p></body></html>"""
SITEMAP = """<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE urlset [<!ENTITY f SYSTEM "file://{file}">]>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{site}/1.html?a=1&amp;b=2</loc><lastmod>2026-01-01
</lastmod></url><url><loc><![CDATA[ {site}/2.html ]]></loc></url><x:url><x:loc>{decoy}/3</x:loc></x:url></urlset>"""
ROBOTS = """# rules
Sitemap: {decoy}/sitemap.xml
User-agent: aria-data/1.0 (x)
User-agent: other
Disallow: /secret*$
Allow: /secret/open
Crawl-delay: 0.001

User-agent: *
Disallow: /*?*=*.mp3$
Disallow:
Host: {decoy}
"""
RULES = json.dumps(
    [{"location": "/a*b$", "tdm-reservation": 1, "tdm-policy": "{decoy}/policy.json"}, {"location": "/"}]
)
ROWS = """url,title,uploader,duration,licence,extra
{site}/1.mp3,"Chopin: Nocturne, Op. 9",Clara,4:05,CC BY,"a ""b"" c"
youtu.be/dQw4w9WgXcQ,Étude,,61.5,,
{decoy}/2.html,,,,,
file://{file},a file,,,,
"""
AUDIOSET = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=3, num_segs=3, num_unique_labels=2, num_positive_labels=4
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
dQw4w9WgXcQ, 50.000, 60.000, "/m/012xff"
"""
LINES = "\n".join(
    json.dumps(each)
    for each in (
        {"url": "{site}/1.mp3", "title": "Waltz \u00e9", "duration_s": 61.5, "tags": {"a": [1]}}, "{decoy}/2.html",
        {"ytid": "dQw4w9WgXcQ", "channel": "Clara"}, {"link": "file://{file}", "name": "x"}, None, 5,
    )
)  # fmt: skip
PLAIN = "# a list\n{site}/1.mp3\nyoutu.be/dQw4w9WgXcQ\nwww.example.org/a\n{decoy}/2.html\nfile://{file}\n//a.org/b\n"
COMMONS = json.dumps(
    {"batchcomplete": True, "continue": {"gcmcontinue": "file|1", "continue": "gcmcontinue||"}, "query": {"pages": [
        {"pageid": 1, "ns": 6, "title": "File:Nocturne.ogg", "index": 1, "imageinfo": [{
            "url": "{site}/n.ogg?utm_source=x", "descriptionurl": "{site}/wiki/File:N.ogg", "size": 9, "duration": 61.5,
            "mime": "application/ogg", "mediatype": "AUDIO", "sha1": "a", "user": "Clara", "extmetadata": {
                "Artist": {"value": "<a href='x'>Clara</a>"}, "LicenseShortName": {"value": "CC BY 4.0"}}}],
         "categories": [{"ns": 14, "title": "Category:Piano"}]},
        {"pageid": 2, "ns": 14, "title": "Category:Nocturnes"}]}}
)  # fmt: skip
ARCHIVE = json.dumps(
    {"response": {"numFound": 1, "start": 0, "docs": [{"identifier": "recital", "mediatype": "audio"}]},
     "server": "127.0.0.1", "dir": "/1/items/recital", "metadata": {"identifier": "recital", "title": ["Recital", "x"],
        "mediatype": "audio", "creator": "Clara", "licenseurl": "https://creativecommons.org/publicdomain/zero/1.0/"},
     "files": [{"name": "01 Waltz.mp3", "format": "VBR MP3", "length": "4:05", "size": "99", "source": "derivative",
        "original": "01 Waltz.flac"}, {"name": "01 Waltz.flac", "format": "Flac", "title": "Waltz", "track": "1/3", "source": "original"}]}
)  # fmt: skip
HTTP = (
    "HTTP/1.1 302 Found\r\nLocation: {decoy}/x.mp3\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: file://{file}\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=cp1251\r\nContent-Length: 31\r\nSet-Cookie: a=b; Path=/\r\n"
    "Link: <{decoy}/l>; rel=preload\r\nRefresh: 0; url={decoy}/r\r\n\r\n<title>a</title><audio src=x.mp>",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n10\r\n<title>a</title>\r\n0\r\n\r\n",
    "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nX-Robots-Tag: noai\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/4\r\nContent-Type: audio/mpeg\r\nETag: \"a\"\r\n"
    "Content-Length: 4\r\n\r\nID3\x04",
    "HTTP/1.1 103 Early Hints\r\nLink: <{decoy}/e>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n#EXTM3U\r\n",
)  # fmt: skip
TITLE = "Frédéric Chopin - Nocturne No. 2 in E-flat major, Op. 9 No. 2 (solo piano)"
ANSWER = {"relevance_score": 5, "evidence": TITLE[:40], "reason": "A nocturne for piano."}
DIGITS = [{"token": str(digit), "logprob": -digit / 2, "bytes": [48 + digit]} for digit in range(1, 6)]
TAGS = ("Chopin: Nocturne №2", "Clara", "Шопен: Ноктюрн", "ノクターン", "{decoy}/x", "file://{file}", "a\0b", "")

SPECIAL = (
    "\0 \ufeff \ufffd \u2028 \u202e \u00a0 \r \n \t ' \" < > & ; = / \\ | # ? % %00 %zz %ff .. :// ]]> <![CDATA[ <!-- --> "
    "</script> </ <a <!DOCTYPE <?xml &#0; &#xD800; &#x110000; &#99999999; &nbsp; &amp;amp;amp; \\ud800 \\u0000 NaN "
    "Infinity -1 0 1e999 -1e999 1e-400 9223372036854775808 00 0x7f 1_000 null true [] {} \"\" [[ {{ <think> ``` **1** 5/5 "
    "data:text/html,x javascript:1 mailto:a@b ftp://a/b //a http:// http:///x http://[ http://[::1]/ http://0/ http://a:b@c/ "
    "http://127.1/ http://2130706433/ http://169.254.169.254/ file:///etc/passwd {decoy}/x file://{file} {file} rel=next "
    "type=audio/mpeg src= href= url= charset=utf-7 charset=utf-16 encoding=\"punycode\" id 1 2 3 4 5"
).split(" ")  # fmt: skip
DEEP = (
    "[",
    "{{",
    '{{"a":',
    "<div>",
    "<b ",
    "</p>",
    "<!--",
    "&amp;",
    "((",
    "a,",
    '"',
    "<loc>",
    "\n",
    "<li>",
    "*",
    "<![CDATA[",
)
MAX_BYTES = 400_000


def _answers(fields: dict, number: int = 0) -> str:
    entry = {"id": "i1", **fields}
    return (
        json.dumps({"answers": [entry]}), f"<think>Is it {{5}}?</think>\n```json\n{json.dumps([entry])}\n```",
        json.dumps({"i1": fields}), json.dumps(fields), "The answer: " + json.dumps({"answers": [entry, entry]}),
    )[number % 5]  # fmt: skip


def _completion(content: str, **more: object) -> str:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}, **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


def _annotated() -> dict:
    quotes = {
        "composer": "Chopin",
        "title": "Nocturne",
        "catalogue": "Op. 9",
        "piece_number": "No. 2",
        "key": "E-flat major",
    }
    names = (
        "composer",
        "performer",
        "title",
        "catalogue",
        "piece_number",
        "movement",
        "form",
        "genre",
        "period",
        "key",
    )
    return {
        **{name: {"value": quotes.get(name, ""), "quote": quotes.get(name, "")} for name in names},
        "confidence": 0.8,
    }


def _id3(number: int) -> bytes:
    encoding = number % 4
    charset = ("latin-1", "utf-16", "utf-16-be", "utf-8")[encoding]
    frames = b""
    for name, value in zip(("TIT2", "TPE1", "TCOM", "TALB", "COMM", "TXXX", "APIC", "CHAP"), TAGS, strict=True):
        body = bytes([encoding]) + (b"eng" if name == "COMM" else b"") + value.encode(charset, "replace")
        frames += name.encode() + struct.pack(">IH", len(body), 0) + body
    size = bytes((len(frames) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([3 + number % 2, 0, 0]) + size + frames


def _info(number: int) -> bytes:
    charset = ("utf-8", "cp1251", "shift_jis", "gb18030")[number % 4]
    chunks = b""
    for name, value in zip((b"INAM", b"IART", b"ICMT", b"IPRD"), TAGS, strict=False):
        body = value.encode(charset, "replace") + b"\0"
        chunks += name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"LIST" + struct.pack("<I", len(chunks) + 4) + b"INFO" + chunks


ORIGINALS: dict[str, Callable[[int], str | bytes]] = {
    "rss": lambda number: RSS,
    "atom": lambda number: ATOM,
    "json_feed": lambda number: FEED,
    "page": lambda number: PAGE,
    "sitemap": lambda number: SITEMAP,
    "robots": lambda number: ROBOTS,
    "tdmrep": lambda number: RULES,
    "csv": lambda number: ROWS,
    "tsv": lambda number: ROWS.replace(",", "\t"),
    "audioset": lambda number: AUDIOSET,
    "jsonl": lambda number: LINES,
    "txt": lambda number: PLAIN,
    "commons": lambda number: COMMONS,
    "archive": lambda number: ARCHIVE,
    "http": lambda number: HTTP[number % len(HTTP)],
    "screen": lambda number: _completion(_answers(ANSWER, number)),
    "annotate": lambda number: _completion(_answers(_annotated(), number)),
    "digits": lambda number: _completion("4", logprobs={"content": [{**DIGITS[3], "top_logprobs": DIGITS}]}),
    "id3": _id3,
    "info": _info,
    "name": lambda number: TAGS[number % len(TAGS)],
    "sidecar": lambda number: json.dumps({"title": TITLE, "uploader": "Clara", "duration": 1.5, "webpage_url": "{decoy}/"}),
}  # fmt: skip


def original(kind: str, number: int, site: str, decoy: str, file: Path) -> bytes:
    given = ORIGINALS[kind](number)
    is_json = isinstance(given, str) and given.lstrip().startswith(("{", "["))
    text = given if isinstance(given, bytes) else given.encode()
    for name, value in (("site", site), ("decoy", decoy), ("file", str(file))):
        text = text.replace(b"{%s}" % name.encode(), value.encode())
    return text if is_json else text.replace(b"{{", b"{").replace(b"}}", b"}")


def mutated(content: bytes, rng: np.random.Generator, other: bytes, names: dict[str, str]) -> bytes:
    """Change a text in one of several ways: bytes, words, whole values, its structure, its charset."""
    at, end = sorted(int(each) for each in rng.integers(0, len(content) + 1, 2))
    end = min(end, at + 1 + int(rng.exponential(60)))
    special = _filled(str(rng.choice(SPECIAL)), names)
    kind = int(rng.integers(0, 14))
    if kind == 0:
        made = bytearray(content or b"\0")
        for place in rng.integers(0, len(made), int(rng.integers(1, 20))):
            made[int(place)] = int(rng.integers(0, 256))
        return bytes(made)
    if kind == 1:
        return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[end:]
    if kind == 2:
        return content[:at]
    if kind == 3:
        return content[:at] + content[end:]
    if kind == 4:
        return content[:at] + special + content[at:]
    if kind == 5:
        return content[:at] + content[at:end] * int(rng.integers(2, 2000)) + content[end:]
    if kind == 6:
        deep = _filled(str(rng.choice(DEEP)), names)
        return content[:at] + deep * int(rng.choice([3, 200, 20_000])) + content[at:]
    if kind == 7:
        return _one_replaced(content, rb"-?\d[\d.]*", special if rng.random() < 0.5 else b"9" * 5000, rng)
    if kind == 8:
        return _one_replaced(content, rb"\"[^\"]{0,200}\"|'[^']{0,200}'|>[^<]{1,200}<", b'"' + special * 3 + b'"', rng)
    if kind == 9:
        return content[:at] + other[at : at + int(rng.integers(1, 400))] + content[end:]
    if kind == 10:
        return _recoded(content, rng)
    if kind == 11:
        return _with_other_value(content, rng, special.decode("utf-8", "replace"))
    if kind == 12:
        return _one_replaced(content, rb"[A-Za-z][\w:-]*", special, rng)
    return content.swapcase() if rng.random() < 0.3 else content + other


def _filled(text: str, names: dict[str, str]) -> bytes:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text.replace("{{", "{").encode("utf-8", "surrogatepass")


def _one_replaced(content: bytes, pattern: bytes, value: bytes, rng: np.random.Generator) -> bytes:
    found = list(re.finditer(pattern, content[:MAX_BYTES]))
    if not found:
        return content + value
    one = found[int(rng.integers(0, len(found)))]
    return content[: one.start()] + value + content[one.end() :]


def _recoded(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("utf-8", "replace")
    charset = str(
        rng.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp1251", "shift_jis", "iso2022_jp", "utf-7"])
    )
    packed = text.encode(charset, "replace")
    return gzip.compress(packed, mtime=0) if rng.random() < 0.2 else packed


def _with_other_value(content: bytes, rng: np.random.Generator, special: str) -> bytes:
    """Put a value of another type somewhere into a text that is JSON."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places: list[tuple[dict | list, object]] = []
    waiting = [whole]
    while waiting and len(places) < 2000:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        places += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    if not places:
        return content
    holder, key = places[int(rng.integers(0, len(places)))]
    values = [None, True, -1, 1e308, 10**30, [], {}, "", special, [[special]], {special: special}, special * 5000, 0.5]
    holder[key] = values[int(rng.integers(0, len(values)))]  # type: ignore[index]
    return json.dumps(whole, ensure_ascii=bool(rng.random() < 0.5)).encode("utf-8", "surrogatepass")


def make(kind: str, number: int, site: str, decoy: str, file: Path) -> bytes:
    """Give mutation `number` of a kind: one to four changes of its text, at most `MAX_BYTES`.

    What is JSON mostly stays JSON with other values. Every second reply of a model is mutated inside: what it says.
    """
    rng = np.random.default_rng([number, *kind.encode()])
    answers = {"screen": ANSWER, "annotate": _annotated()}
    is_inside = kind in answers and number % 2 == 1
    content = _answers(answers[kind], number).encode() if is_inside else original(kind, number, site, decoy, file)
    other = original(str(rng.choice(list(ORIGINALS))), number, site, decoy, file)
    names = {"decoy": decoy, "file": str(file)}
    for _ in range(int(rng.integers(1, 5))):
        if content.lstrip()[:1] in (b"{", b"[") and rng.random() < 0.6:
            special = _filled(str(rng.choice(SPECIAL)), names).decode("utf-8", "replace")
            content = _with_other_value(content, rng, special)[:MAX_BYTES]
        else:
            content = mutated(content, rng, other, names)[:MAX_BYTES]
    return _completion(content.decode("utf-8", "replace")).encode() if is_inside else content
