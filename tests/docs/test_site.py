"""The documentation's site: its reference has all that the code has, it builds strictly, and it asks no address."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from places import ROOT

from aria_data.config import BuildConfig, to_values
from aria_data.manifest.columns import columns
from aria_data.web.failures import KINDS


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        import reference_pages
    finally:
        sys.path.pop(0)
    return reference_pages


def test_every_command_is_in_the_reference_with_its_options_and_examples(reference):
    from flows.cli.command import cli

    page = reference.commands()
    for name, command in cli.commands.items():
        part = page.split(f"### aria-data {name}\n")[1].split("\n### ")[0]
        options = [option for each in command.params for option in each.opts if option.startswith("--")]
        assert all(option in part for option in options), name
        assert "aria-data " in part
    assert "### aria-data evaluate screen" in page


def test_every_setting_is_in_the_reference_with_its_default_and_the_comment_beside_it(reference):
    page = reference.settings()
    for step, settings in to_values(BuildConfig()).items():
        assert all(f"`{step}.{name}`" in page for name in settings)
    assert (
        "| `segment.max_gap_s` | float | `2.0` | a shorter gap does not end a segment, whatever sounds in it |" in page
    )


def test_every_column_and_every_kind_of_failed_fetch_is_in_the_reference_and_the_guide(reference):
    page = reference.columns()
    assert all(f"| `{column['name']}` | {column['type']} |" in page for column in columns())
    guide = (ROOT / "docs" / "how-to" / "collect-from-the-web.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in reference.reasons() for kind in KINDS)
    assert all(f"`{kind}`" in guide for kind in KINDS)


def test_a_comment_beside_a_field_is_its_meaning(reference):
    @dataclasses.dataclass
    class Odd:
        """Not a field."""

        width: int = 3  # of a window, "in" samples | or so
        names: tuple[str, ...] = (
            "a",  # the first
            "b",
        )

    found = reference.fields_of(Odd)
    assert [(each.name, each.default, each.comment) for each in found] == [
        ("width", "3", 'of a window, "in" samples | or so'),
        ("names", "('a', 'b')", "the first"),
    ]
    assert reference.cell(found[0].comment) == r'of a window, "in" samples \| or so'


def test_a_docstring_keeps_its_lists_code_and_examples_in_restructured_text(reference):
    lines = ["Read `a_b` of *all*, name_ too.", "", "- one", "  more", "- two", "", "    code *here*", "", "End."]
    assert reference.restructured(lines) == [
        r"Read ``a_b`` of \*all\*, name\_ too.",
        "",
        "- one more",
        "- two",
        "",
        "::",
        "",
        "        code *here*",
        "",
        "End.",
        "",
    ]


class Loaded(HTMLParser):
    """What a browser would load by itself."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "audio", "video", "source", "embed"):
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "author"):
            self.addresses.append(given.get("href") or "")


@pytest.mark.slow
def test_the_site_is_made_without_a_warning_and_asks_no_address(tmp_path):
    """In a process without a network, where that can be had."""
    for package in ("sphinx", "furo", "myst_parser"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -c constraints.txt -e '.[docs]'")
    alone = ["unshare", "-n"] if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0 else []
    make = [*alone, sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs/site", ".", str(tmp_path)]
    made = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {"faq.html", "commands.html", "settings.html", "library.html", "my-folder.html"} <= {p.name for p in pages}
    for page in pages:
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        assert not [each for each in reader.addresses if re.match(r"(https?:)?//", each)], page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style
