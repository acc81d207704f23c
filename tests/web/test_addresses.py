"""Which addresses may be requested, when two mean the same, and how licences are read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.errors import ConfigInvalid
from aria_data.web import canonical, host_of, join, licence_code, without_secrets
from aria_data.web.addresses import AddressConfig, AddressRefused, candidate_id_of, is_below, require_address
from aria_data.web.licences import parse_licences


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://0/",
        "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://169.254.169.254/latest/meta-data", "http://10.1.2.3", "http://192.168.0.1:8080/a", "http://172.16.9.9/",
        "http://100.64.0.1/", "http://224.0.0.1/", "http://localhost/", "http://a.localhost:80/", "http://nas.local/",
        "http://metadata.google.internal/", "http://[fe80::1%25eth0]/", "http://[fd00::1]/",
        "file:///etc/passwd", "ftp://example.org/a.mp3", "gopher://example.org/", "javascript:alert(1)", "data:,x", "",
        "http://user:word@example.org/", "http://user@example.org/", "http:///path", "http://example.org/a b",
        "http://example.org/\r\nX: y", "http://example.org:99999/", "http://[::1", "https://example.org/" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_address_of_the_public_web_is_refused_in_one_line(url):
    with pytest.raises(AddressRefused) as caught:
        require_address(url)
    assert "\n" not in str(caught.value)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.org/", "http://8.8.8.8/a.mp3", "https://[2606:4700::1111]/", "http://xn--mnchen-3ya.de/"]
)
def test_the_public_web_may_be_asked(url):
    assert require_address(url) == url


def test_a_host_of_ones_own_is_asked_when_it_is_named_and_only_then():
    config = AddressConfig(allow_hosts=("127.0.0.1:8000", "nas.local"))
    assert require_address("http://127.0.0.1:8000/a", config)
    assert require_address("http://nas.local/a", config)
    with pytest.raises(AddressRefused):
        require_address("http://127.0.0.1:8001/a", config)
    assert require_address("http://10.0.0.1/", AddressConfig(allow_private=True))


@pytest.mark.parametrize(
    "same",
    [
        ("HTTPS://Example.ORG:443/a?utm_source=x&b=2&a=1#top", "https://example.org/a?a=1&b=2"),
        ("http://example.org", "http://example.org/"),
        ("https://example.org/a;jsessionid=77?x=1", "https://example.org/a?x=1"),
        ("https://example.org/ü", "https://example.org/%C3%BC"),
        ("https://example.org/a.mp3?token=8f3a77c0d1e2b4a5", "https://example.org/a.mp3?token=00aa77c0d1e2b4a5"),
        ("https://youtu.be/abcdefghijk?si=x&feature=share", "https://youtu.be/abcdefghijk"),
    ],
)
def test_spellings_of_one_page_are_the_same(same):
    first, second = same
    assert canonical(first) == canonical(second)


def test_pages_that_differ_stay_different():
    assert len({canonical(f"https://example.org/{path}") for path in ("a", "b", "A", "a?id=1", "a?id=2", "a/")}) == 6


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_can_be_asked_about_and_a_second_time_changes_nothing(text):
    once = canonical(f"http://example.org/{text}")
    assert canonical(once) == once
    host_of(text), join("http://example.org/", text), without_secrets(text)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_identity_makes_an_id_that_is_safe_as_a_file_name(identity):
    made = candidate_id_of("You Tube!", identity)
    assert made.startswith("youtube-")
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len(made) < 100


def test_secrets_are_not_shown():
    shown = without_secrets("https://me:pw@example.org/a?api_key=abc&x=1&access_token=def&sig=ghi")
    assert not {"pw", "abc", "def", "ghi"} & set(shown.replace("=", " ").replace("&", " ").replace("@", " ").split())
    assert "x=1" in shown


def test_below_a_domain_is_meant_by_labels_not_by_letters():
    assert is_below("a.example.org:8080", ["example.org"])
    assert is_below("example.org", ["example.org"])
    assert not is_below("badexample.org", ["example.org"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "unknown"), ("CC BY 4.0", "cc-by"), ("cc-by-sa-4.0", "cc-by-sa"), ("CC0 1.0", "cc0"), ("PD", "pd"),
        ("Creative Commons Attribution license (reuse allowed)", "cc-by"), ("Public Domain Mark 1.0", "pd"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/", "cc-by-nc-sa"), ("gemeinfrei", "pd"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0"), ("Standard YouTube License", "reserved"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa"), ("© 2020 A. Player", "reserved"),
        ("Creative Commons BY-NC-ND", "cc-by-nc-nd"), ("played by John", "reserved"), ("whatever", "reserved"),
        ("https://creativecommons.org/licenses/by/4.0/, creativecommons.org/licenses/by-nc/4.0/", "cc-by-nc"),
    ],
)  # fmt: skip
def test_a_licence_is_called_by_the_least_generous_reading(text, code):
    assert licence_code(text) == code


def test_an_allow_list_with_an_unknown_name_is_refused():
    assert parse_licences("cc0, CC-BY,pd") == ("cc0", "cc-by", "pd")
    with pytest.raises(ConfigInvalid, match="free"):
        parse_licences("free")


@pytest.mark.parametrize(
    "name", ["session", "token", "feature", "si", "sid", "expires", "pp", "sig", "signature", "nonce", "session_id"]
)
def test_parameters_that_may_name_a_recording_keep_different_things_different(name):
    assert len({canonical(f"https://example.org/play.php?{name}={value}") for value in (1, 2, 3, "a")}) == 4
    secrets = [f"https://example.org/play.php?{name}=8f3a77c0d1e2b4a{n}" for n in range(5)]
    assert len({canonical(one) for one in secrets}) == 5
