"""Pictures: one style, read in light and dark, with words for who does not see them; hostile names stay text."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from browsing import Watched, chromium

from aria_data.pictures import COLOURS, canvas, intervals_svg, svg
from aria_data.pictures.style import GROUNDS, IN_DARK
from aria_data.pruning import Budget, Pool, SelectConfig, report_of, select
from aria_data.pruning.selection_plots import draw_selection

HOSTILE = "<script>document.title='taken'</script>\"'&$x_{1}$ \u202e_日本"
LINES = [("in_pruned", 0.9, 0.8, 0.95, "9 of 10 are good"), (HOSTILE, math.nan, 0.0, 1.0, HOSTILE)]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_of_text_and_series_is_seen_on_its_ground():
    light, dark = GROUNDS
    for on_light, on_dark in IN_DARK.items():
        if on_light != "#c9ced6":  # the lines behind
            assert contrast(on_light, light) >= 4.5, on_light
            assert contrast(on_dark, dark) >= 4.5, on_dark


def test_the_same_numbers_give_the_same_bytes_and_nothing_is_run_or_fetched():
    one, other = (intervals_svg("precision of subsets", LINES) for _ in range(2))
    assert one == other
    root = ET.fromstring(one)
    assert root.get("role") == "img"
    assert "in_pruned: 9 of 10 are good, 0.800 to 0.950" in root.get("aria-label")
    assert not [each for each in root.iter() if each.tag.endswith("script")]
    assert not re.findall(rb'(?:href|src)="(?!#)', one)
    assert any("document.title" in (each.text or "") for each in root.iter())  # shown, as text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_read_in_light_and_dark(tmp_path, scheme):
    figure, axes = canvas()
    axes.plot([0, 1], [0, 1], "o-", label="one")
    axes.legend()
    (tmp_path / "a.svg").write_bytes(svg(figure, HOSTILE, "words"))
    with chromium() as browser:
        watched = Watched(browser, color_scheme=scheme)
        watched.page.goto((tmp_path / "a.svg").as_uri())
        text = watched.page.evaluate("getComputedStyle([...document.querySelectorAll('text')].at(-1)).fill")
        drawn = f"[...document.querySelectorAll('[style*=\"stroke: {COLOURS[0]}\"]')]"
        line = watched.page.evaluate(f"{drawn}.map((one) => getComputedStyle(one).stroke)")
        ground = watched.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        said = watched.said
        watched.context.close()
    assert not said
    assert line
    wanted = (lambda colour: colour) if scheme == "light" else IN_DARK.get
    shown = [tuple(int(each) for each in re.findall(r"\d+", colour)[:3]) for colour in (text, line[0], ground)]
    expected = [wanted("#1b1e23"), wanted(COLOURS[0]), GROUNDS[scheme == "dark"]]
    assert shown == [tuple(bytes.fromhex(colour[1:])) for colour in expected]


def test_a_selection_is_drawn_beside_its_pool(tmp_path):
    ids = [f"file-{number}" for number in range(40)]
    groups = [HOSTILE if number % 3 else "" for number in range(40)]
    pool = Pool.of(ids, np.linspace(0, 1, 40), groups, np.ones(40), np.ones(40, int))
    report = report_of(select(pool, SelectConfig("top", Budget(0.25))))
    drawn = {path.name: path.read_bytes() for path in draw_selection(report, tmp_path)}
    assert sorted(drawn) == ["selected_groups.svg", "selected_scores.svg"]
    assert "10 of 40 files kept" in ET.fromstring(drawn["selected_scores.svg"]).get("aria-label")
    assert "not known: 0.350" in ET.fromstring(drawn["selected_groups.svg"]).get("aria-label")
    assert not [each for each in ET.fromstring(drawn["selected_groups.svg"]).iter() if each.tag.endswith("script")]
