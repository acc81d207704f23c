"""The report in a real Chromium: it needs no network, says nothing in the console, axe-core finds no serious fault."""

from __future__ import annotations

import json

import pytest
from browsing import Watched, chromium
from datasets_made import make_rows

from aria_data.manifest import Manifest
from aria_data.records import Rejection
from aria_data.storage.stage_tables import RecordTable
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


OVERFLOWING = """[...document.querySelectorAll("body, body *")]
  .filter((one) => !one.closest("svg") && one.clientWidth && one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.tagName} in ${one.closest("figure")?.querySelector("h3").textContent}`)"""


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_in_the_report_is_cut_off_or_wider_than_its_box(full_report, browser, tmp_path, width):
    watched = Watched(browser, viewport={"width": width, "height": 900})
    watched.page.goto(full_report.as_uri())
    watched.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = watched.page.evaluate(OVERFLOWING)
    watched.page.screenshot(path=tmp_path / f"report-{width}.png", full_page=True)
    watched.context.close()
    assert not found


@pytest.fixture(scope="module")
def full_report(tmp_path_factory):
    """A report with every figure, and long words in all texts."""
    root = tmp_path_factory.mktemp("full")
    texts = ("composer", "form", "performer", "licence", "source", "title", "notes_cluster", "audio_cluster")
    manifest, rows = Manifest(root), make_rows(root, 12)
    for number, row in enumerate(rows):
        row |= {name: f"{name}-" + "abcdefgh_" * (number % 4 * 5) for name in texts} | {"num_notes": 10**9 * number}
    manifest.commit(rows)
    manifest.commit([rows[0] | {"composer": "x" * 200, "split": "test"}, *rows[2:]])
    stage = {"stage": "transcribe", "num_items": 10**9, "audio_s": 1e9, "working_s": 1e9, "x_real_time": 1234567.8}
    build = {"run_id": "a", "began_at": "2026-11-30T11:38:41+00:00", "state": "stopped by " + "KeyboardInterrupt" * 3}
    machine = {"processor": "Processor_" * 8, "cores": 4096, "gpus": ["NVIDIA H200 " * 8]}
    builds = [build | {"machine": machine, "stages": [stage], "wall_s": 1e9, "money": [{"dollars": 123456.789}]}]
    (root / "perf.json").write_text(json.dumps({"format": 1, "builds": builds}))
    rejected = [Rejection("i" * 60, "i" * 60, "", "ingest", "a_reason_" * 8, -123456.789, "", False)]
    RecordTable(root, "rejections", Rejection).replace(rejected)
    return write_report(root, root / "report.html")


def test_the_report_is_read_by_keyboard_and_printed(report, browser):
    watched = Watched(browser)
    watched.page.goto(report.as_uri())
    watched.page.keyboard.press("Tab")
    assert watched.page.evaluate("document.activeElement.className") == "skip"
    assert len(watched.page.pdf()) > 10_000
    watched.context.close()
    assert not watched.said
