"""The report in a real Chromium: it needs no network, says nothing in the console, axe-core finds no serious fault."""

from __future__ import annotations

import pytest
from browsing import Watched, chromium
from datasets_made import make_rows

from aria_data.manifest import Manifest
from flows.report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    manifest, rows = Manifest(root), make_rows(root, 60)
    manifest.commit(rows[:50])
    manifest.commit([rows[0] | {"composer": "Clara Schumann"}, *rows[1:]])
    return write_report(root, root / "report.html")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_report_is_read_without_network_or_fault(report, browser, tmp_path, scheme, width):
    watched = Watched(browser, color_scheme=scheme, viewport={"width": width, "height": 800})
    watched.page.goto(report.as_uri())
    watched.page.click("summary >> nth=1")
    watched.page.click("button:has-text('copy') >> visible=true")
    watched.page.wait_for_selector("button:has-text('copied'), button:has-text('press Ctrl+C')")
    faults = watched.faults()
    is_wide = watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    watched.page.screenshot(path=tmp_path / f"report-{scheme}.png", full_page=True)
    said, asked = watched.said, watched.asked
    watched.context.close()
    assert not faults
    assert not is_wide
    assert not said
    assert asked == {"file:"}


def test_the_report_is_read_by_keyboard_and_printed(report, browser):
    watched = Watched(browser)
    watched.page.goto(report.as_uri())
    watched.page.keyboard.press("Tab")
    assert watched.page.evaluate("document.activeElement.className") == "skip"
    assert len(watched.page.pdf()) > 10_000
    watched.context.close()
    assert not watched.said
