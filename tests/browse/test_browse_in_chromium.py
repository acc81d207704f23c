"""The browser's pages in a real Chromium: what a person does with them works, nothing is said in the console, and
axe-core finds no serious fault. Screenshots are kept in the folder `screenshots` of the test run."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from browsing import TOKEN, Visitor, Watched, chromium

from aria_data.manifest import Manifest
from aria_data.midi import read_midi
from aria_data.release.reviews import Reviews

DRAWN = "canvas[data-drawn='with its spectrogram']"


@pytest.fixture(scope="module")
def site(built):
    with Visitor(built) as visitor, chromium() as browser:
        yield visitor, browser


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def watched(site):
    visitor, browser = site
    found = Watched(browser, base_url=visitor.origin)
    found.page.goto(f"/?token={TOKEN}")
    yield found
    said, asked = found.said, found.asked
    found.context.close()
    assert not said
    assert asked <= {visitor.origin.replace("//", "")}  # nothing is loaded from elsewhere


def row_of(root, word):
    return next(row for row in Manifest(root).rows() if word in row["title"])


def open_segment(page, row):
    page.goto(f"/segment?id={row['segment_id']}")
    page.wait_for_selector(DRAWN)


def test_segments_are_filtered_sorted_and_opened_and_every_view_has_an_address(watched, shots):
    page = watched.page
    page.fill("#q", "nocturne")
    page.press("#q", "Enter")
    page.wait_for_selector("h1:has-text('2 segments')")
    assert "q=nocturne" in page.url
    page.click("thead a:has-text('num notes')")
    page.wait_for_selector("th[aria-sort=ascending]:has-text('num notes')")
    page.click("thead a:has-text('num notes')")
    page.wait_for_selector("th[aria-sort=descending]")
    assert page.locator("tbody tr").count() == 2
    page.screenshot(path=shots / "table.png")
    again = page.url
    page.click("tbody tr:first-child a")
    page.wait_for_selector("#player")
    page.go_back()
    page.wait_for_selector("th[aria-sort=descending]")
    assert page.url == again
    page.goto(again)
    assert page.input_value("#q") == "nocturne"


def test_brushing_a_histogram_filters_the_table_and_a_click_takes_it_back(watched):
    page = watched.page
    box = page.locator("fieldset:has-text('duration') svg").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], y, steps=4)
    page.mouse.up()
    page.wait_for_selector("h1:has-text('2 segments')")
    assert "min_duration_s=" in page.url
    page.locator("fieldset:has-text('duration') svg").click()
    page.wait_for_selector("h1:has-text('3 segments')")


def test_the_condition_completes_columns_by_keyboard(watched):
    page = watched.page
    page.click("#where")
    page.keyboard.type("num_no")
    page.wait_for_selector("#names [role=option]:has-text('num_notes')")
    assert page.get_attribute("#where", "aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type(" > 20 AND in_pru")
    page.keyboard.press("Tab")
    assert page.input_value("#where") == "num_notes > 20 AND in_pruned"
    page.fill("#where", "num_notes > 20")
    page.press("#where", "Enter")
    page.wait_for_selector("h1:has-text('2 segments')")


def test_a_condition_that_cannot_be_used_is_said_without_leaving_the_page(watched):
    page = watched.page
    page.fill("#where", "num_notes >")
    page.press("#where", "Enter")
    page.wait_for_selector("[role=alert]:has-text('cannot be used')")
    watched.said[:] = [text for text in watched.said if "400" not in text]  # Chromium itself speaks of the status


def test_recording_and_transcription_are_played_on_one_clock(watched, built, shots):
    page = watched.page
    open_segment(page, row_of(built, "Nocturne"))
    page.screenshot(path=shots / "segment.png", full_page=True)
    for name in ("recording", "notes"):
        page.check(f"input[name=sound][value={name}]")
        if page.inner_text("#play") == "play":
            page.click("#play")
        watched.until(f"document.getElementById('{name}').currentTime > 0.2")
        assert not page.evaluate(f"document.getElementById('{name}').paused")
    page.check("input[name=sound][value=both]")
    watched.until("[...document.querySelectorAll('audio')].every((one) => !one.paused)")
    page.click("#play")
    at = [page.evaluate(f"document.getElementById('{name}').currentTime") for name in ("recording", "notes")]
    assert at[0] == pytest.approx(at[1], abs=0.3)
    box = page.locator("#roll").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    page.wait_for_selector("#clock:has-text('6.0 s')")


def test_the_transcriptions_sound_is_not_silent_and_begins_with_each_note(watched, built):
    row = row_of(built, "Nocturne")
    open_segment(watched.page, row)
    content = watched.context.request.get(watched.page.get_attribute("#notes", "src")).body()
    waveform, rate = soundfile.read(io.BytesIO(content))
    assert np.abs(waveform).max() > 0.02
    loudness = np.sqrt(np.convolve(waveform**2, np.ones(rate // 100) / (rate // 100), "same"))
    for onset_s in sorted({note.onset_s for note in read_midi(built / row["midi_path"]).notes}):
        before = loudness[max(0, int((onset_s - 0.03) * rate))]
        assert loudness[int((onset_s + 0.01) * rate) : int((onset_s + 0.06) * rate)].max() > before


def test_copies_are_compared_side_by_side(watched, built, shots):
    page = watched.page
    open_segment(page, row_of(built, "Nocturne"))
    page.click("a:has-text('side by side')")
    page.wait_for_selector("#roll-other[data-drawn]")
    assert "24 notes have a counterpart, 0 of the upper and 0 of the lower have none" in page.inner_text("#alignment")
    page.check("input[value=both]")
    page.click("#play")
    watched.until("[...document.querySelectorAll('audio')].every((one) => one.currentTime > 0.2)")
    page.click("#play")
    page.screenshot(path=shots / "copies.png")
    assert not watched.faults()


def test_a_segment_is_marked_by_keys_and_a_reload_keeps_it(watched, built, shots):
    page, row = watched.page, row_of(built, "Gymnop")
    open_segment(page, row)
    page.uncheck("input[name=then]")
    page.keyboard.press("w")
    page.keyboard.press("s")
    assert page.is_checked("input[value='wrong bounds']")
    assert page.is_checked("input[value='second sound source']")
    page.keyboard.press("b")
    page.wait_for_selector("text=bad (second sound source; wrong bounds)")
    page.reload()
    page.wait_for_selector("text=bad (second sound source; wrong bounds)")
    page.goto("/reviews")
    assert page.locator("tbody tr").count() == 1
    page.screenshot(path=shots / "reviews.png")
    page.goto("/?review=bad")
    page.wait_for_selector("h1:has-text('1 segments')")
    assert [review.verdict for review in Reviews(built).all()] == ["bad"]


def test_what_was_rejected_is_seen_and_played(watched, shots):
    page = watched.page
    page.goto("/rejected")
    page.click("tr:has-text('noise.wav') a")
    page.wait_for_selector("#scores canvas")
    watched.until("document.querySelector('img.heard').naturalWidth > 0")
    page.evaluate("document.querySelector('audio').play()")
    watched.until("document.querySelector('audio').currentTime > 0.2")
    assert "no_solo_piano" in page.inner_text("main")
    page.screenshot(path=shots / "rejected.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault(site, built, scheme, shots):
    visitor, browser = site
    row = row_of(built, "Nocturne")
    paths = ["/", "/?where=num_notes", f"/segment?id={row['segment_id']}", "/rejected", "/changes", "/reviews", "/item"]
    width = 360 if scheme == "dark" else 1280
    watched = Watched(browser, base_url=visitor.origin, color_scheme=scheme, viewport={"width": width, "height": 800})
    watched.page.goto(f"/?token={TOKEN}")
    found = {}
    for number, path in enumerate(paths):
        watched.page.goto(path)
        watched.page.wait_for_load_state("networkidle")
        found[path] = watched.faults()
        is_wide = watched.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        found[path] += ["wider than the window"] if is_wide else []
        watched.page.screenshot(path=shots / f"{scheme}-{number}.png")
    watched.context.close()
    assert not {path: faults for path, faults in found.items() if faults}


def test_one_comes_closer_to_a_part_which_then_goes_with_the_sound(watched, built, shots):
    page, row = watched.page, row_of(built, "Nocturne")
    open_segment(page, row)
    box = page.locator("#roll").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.keyboard.press("+")
    page.wait_for_selector("canvas[data-view='0.0 to 6.0 s']")
    page.click("#closer")
    page.wait_for_selector("canvas[data-view='1.0 to 5.0 s']")
    page.wait_for_timeout(400)
    page.screenshot(path=shots / "closer.png")
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    page.wait_for_selector("#clock:has-text('4.0 s')")
    page.keyboard.press("ArrowRight")  # to 9 s: what is seen goes there, too
    page.wait_for_selector("#clock:has-text('9.0 s')")
    page.wait_for_selector("canvas[data-view='8.0 to 12.0 s']")
    for _ in range(3):
        page.keyboard.press("-")
    page.wait_for_selector("canvas[data-view='0.0 to 12.0 s']")


def test_notes_and_picture_are_asked_for_once_and_before_the_scripts_that_draw_them(watched, built):
    names = "performance.getEntriesByType('resource').map((each) => [new URL(each.name).pathname, each.initiatorType])"
    open_segment(watched.page, row_of(built, "Nocturne"))
    asked = watched.page.evaluate(names)
    assert [kind for path, kind in asked if path == "/notes.json"] == ["link"]
    assert [kind for path, kind in asked if path == "/spectrogram.png"] == ["link"]
