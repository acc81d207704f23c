"""The coarse test of a column of addresses lets everything through that an opt-out names."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.records import Candidate
from aria_data.web import OptOuts
from aria_data.web.opt_outs import may_be_named

PLACES = [
    "https://www.Example.org/watch?v=dQw4w9WgXcQ",
    "https://www.example.org./watch?utm_source=x&v=dQw4w9WgXcQ#t",
    "https://www.example.org:443/watch?v=%64Qw4w9WgXcQ",
    "https://ｗww.example.org/watch?v=dQw4w9WgXcQ",
    "https://www.exam\tple.org/watch?v=dQw4w9WgXcQ",
    "https://www.example.org/watch;jsessionid=3?v=dQw4w9WgXcQ",
    "https://example.org/a b{c}/é",
    "https://example.org/a%20b%7Bc%7D/%C3%A9",
    "https://EXAMPLE.org",
    "https://example.org/",
    "https://bücher.example/x",
    "https://xn--bcher-kva.example/x",
    "https://other.example/y",
    "file:///music/a.wav",
    "music/a.wav",
    "",
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*PLACES, "domain:example.org", "domain:EXAMPLE", "domain:bücher.example"]),
    st.lists(st.sampled_from(PLACES) | st.text(max_size=9).map("https://example.org/".__add__), min_size=1, max_size=9),
)
def test_what_an_opt_out_names_is_always_let_through(entry, places):
    opt_outs = OptOuts()
    opt_outs.add([(entry, "asked")])
    opt_outs.ids.clear()
    found = may_be_named(pa.chunked_array([pa.array(places)]), opt_outs).to_pylist()
    for place, may_be in zip(places, found, strict=True):
        candidate = Candidate("web-1", "web", place, place, "")
        assert may_be or opt_outs.reason_for(candidate) is None


def test_other_addresses_of_the_same_site_are_left_out():
    opt_outs = OptOuts()
    opt_outs.add([(PLACES[0], "asked")])
    places = pa.chunked_array([pa.array([PLACES[0], "https://www.example.org/watch?v=dQw4w9WgXcR"])])
    assert may_be_named(places, opt_outs).to_pylist() == [True, False]
