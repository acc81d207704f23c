"""The training loop of docs/training.md is short. tests/docs/test_pages.py runs it."""

from __future__ import annotations

from pages import blocks_of


def test_the_guides_code_is_20_lines():
    code = next(block.code for block in blocks_of("docs/training.md") if block.language == "python")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 120
