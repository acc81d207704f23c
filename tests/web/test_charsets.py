"""Pages and feeds in every charset that servers and files declare, and in none."""

from __future__ import annotations

import pytest
from web_server import Site

from aria_data.collect.sources import follow
from aria_data.collect.sources.base import Lead, make_candidate, text
from aria_data.web import RequestBudget, Web, WebConfig
from aria_data.web.charsets import charset_named, decode

CYRILLIC, JAPANESE, CHINESE = "Шопен. Ноктюрн", "ショパン 夜想曲", "肖邦 夜曲"
DECLARED = [
    ("windows-1251", "cp1251", CYRILLIC), ("koi8-r", "koi8-r", CYRILLIC), ("ISO-8859-5", "iso8859-5", CYRILLIC),
    ("Shift_JIS", "cp932", JAPANESE), ("ISO-2022-JP", "iso2022_jp", JAPANESE), ("EUC-JP", "euc_jp", JAPANESE),
    ("gb2312", "gbk", CHINESE), ("UTF-16", "utf-16", CYRILLIC), ("UTF-16", "utf-16-le", CYRILLIC),
    ("UTF-16", "utf-16-be", CYRILLIC), ("ISO-8859-1", "cp1252", "Frédéric Chopin – Étude"),
]  # fmt: skip


@pytest.fixture
def site():
    with Site() as site:
        yield site


def titles(site: Site, path: str, body: bytes, kind: str) -> list[str]:
    web = Web(WebConfig(allow_hosts=("127.0.0.1",), min_interval_s=0.0, jitter=0.0), RequestBudget())
    lead = Lead("page", site.add(path, body, kind))
    return [one.title for one in follow(lead, web, 100) if hasattr(one, "candidate_id")]


@pytest.mark.parametrize(("label", "codec", "title"), DECLARED)
def test_a_feed_is_read_in_the_charset_that_its_xml_or_its_server_declares(site, label, codec, title):
    body = (
        f"<rss><channel><item><title>{title}</title><enclosure url='/a.mp3' type='audio/mpeg'/></item></channel></rss>"
    )
    xml = f'<?xml version="1.0" encoding="{label}"?>{body}'.encode(codec)
    assert titles(site, "/xml", xml, "application/rss+xml") == [title]
    assert titles(site, "/http", body.encode(codec), f"text/xml; charset={label}") == [title]


@pytest.mark.parametrize(("label", "codec", "title"), DECLARED)
def test_a_page_is_read_in_the_charset_that_it_or_its_server_declares(site, label, codec, title):
    body = f"<meta charset='{label}'><title>{title}</title><audio src='/a.mp3'></audio>"
    assert titles(site, "/meta", body.encode(codec), "text/html") == [title]
    assert titles(site, "/http", body.encode(codec), f"text/html; charset={label}") == [title]


def test_a_wrong_label_gives_way_to_what_the_bytes_are():
    assert decode("<title>Étude".encode(), "text/html; charset=iso-8859-1") == "<title>Étude"
    assert decode(b"<?xml encoding='utf-16'?><rss>a") == "<?xml encoding='utf-16'?><rss>a"
    assert decode("<p>Étude – Шопен".encode() + b"\xff") == "<p>Étude – Шопен�"


def test_a_page_that_declares_nothing_is_read_as_what_its_letters_look_like():
    words = "Фредерик Шопен, ноктюрн ми-бемоль мажор, сочинение девять"
    assert decode(f"<title>{words}</title>".encode("cp1251")) == f"<title>{words}</title>"


@pytest.mark.parametrize("name", ["punycode", "unicode_escape", "rot13", "idna", "x" * 500, "undefined", "utf-7"])
def test_only_charsets_are_charsets(name):
    assert charset_named(name) == ""


@pytest.mark.parametrize(
    "blank", "\u00a0 \u3000 \u2009 \u2028 \u2029 \u202f \u205f \u1680 \x0b \x0c \r \x85".split(" ")
)
def test_every_blank_is_a_blank(blank):
    assert text(f"Chopin{blank}Nocturne", 99).split() == ["Chopin", "Nocturne"]


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("Fr&amp;eacute;d&amp;eacute;ric Chopin", "Frédéric Chopin"),
        ("&amp;amp;quot;Raindrop&amp;amp;quot;", '"Raindrop"'),
        ("<b>Chopin</b> Noc<i>turne</i>", "Chopin Nocturne"), ("Chopin<br/>Nocturne", "Chopin Nocturne"),
        ("Chopin&nbsp;Nocturne", "Chopin Nocturne"), ("&#1064;&#x43e;&#1087;&#1077;&#1085;", "Шопен"),
        ("Liszt & Alkan; A < B > C <3", "Liszt & Alkan; A < B > C <3"), ("Q&A;", "Q&A;"),
        ("&#99999999;", "&#99999999;"),
    ],
)  # fmt: skip
def test_entities_escaped_twice_and_tags_in_a_title_are_read(given, title):
    lead = Lead("page", "http://a.org")
    assert make_candidate("web", "http://a.org", location="http://a.org", title=given, lead=lead).title == title


def test_tags_in_cdata_of_a_feed_are_no_words(site):
    item = "<title><![CDATA[<b>Chopin</b>&nbsp;Nocturne]]></title><enclosure url='/a.mp3' type='audio/mpeg'/>"
    body = f"<rss><channel><item>{item}</item></channel></rss>"
    assert titles(site, "/feed", body.encode(), "application/rss+xml") == ["Chopin Nocturne"]
