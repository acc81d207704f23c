"""Make the two screenshots of the README again, `docs/browse.png` and `docs/report.png`, from the demo's dataset.

    make demo && .venv/bin/python docs/draw_screenshots.py demo_dataset

It needs the extra `browser` and Debian's chromium. The tests drive the same pages and keep their own screenshots.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZE = {"width": 1280, "height": 860}
SHOWN = "Prelude in C major"  # a title of the demo


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    from browsing import TOKEN, Visitor, Watched, chromium

    from aria_data.manifest import Manifest
    from flows.report import write_report

    root = Path(sys.argv[1])
    row = next(row for row in Manifest(root).rows() if SHOWN in row["title"] and row["is_cluster_lead"])
    with Visitor(root) as visitor, chromium() as browser, tempfile.TemporaryDirectory() as folder:
        page = Watched(browser, base_url=visitor.origin, viewport=SIZE, color_scheme="light").page
        page.goto(f"/?token={TOKEN}")
        page.goto(f"/segment?id={row['segment_id']}")
        page.wait_for_selector("canvas[data-drawn='with its spectrogram']")
        box = page.locator("#roll").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + 20)
        for _ in range(2):
            page.keyboard.press("+")
        page.wait_for_selector(f"canvas[data-pictured='{round(row['duration_s'] / 4)}']")
        save(page.screenshot(), "browse.png")
        page.goto(write_report(root, Path(folder) / "report.html").as_uri())
        save(page.screenshot(), "report.png")


def save(content: bytes, name: str) -> None:
    """Keep a picture with 256 colours: a third of the bytes."""
    from PIL import Image

    Image.open(io.BytesIO(content)).convert("RGB").quantize(256).save(ROOT / "docs" / name, optimize=True)


if __name__ == "__main__":
    main()
