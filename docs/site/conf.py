"""Sphinx's configuration: README.md, docs/ and the pages that it links to, as a site that asks no address.

    sphinx-build -W -c docs/site . build/docs

The source is the repository, so that a link works in the site as it does among the files. The reference is made from
the code first, into `docs/reference/`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import aria_data  # noqa: E402

project = "aria-data"
author = "the aria-data contributors"
version = release = aria_data.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LOG.md",
    "SECURITY.md",
    "aria_data/architecture.md",
    "aria_data/screen/title_model.md",
    "classifiers/README.md",
    "docs/**.md",
    "manifests/README.md",
    "manifests/exclusions/README.md",
]
exclude_patterns = ["**/.*", ".*", "build", "demo_*", "**/__pycache__", "tests"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
toc_object_entries = False
html_theme = "furo"
html_title = f"aria-data {version}"
html_copy_source = html_show_sourcelink = False
html_use_index = False
GENERATED = ("commands", "settings", "columns", "reasons", "library")


def setup(app: Any) -> None:
    """Hook in what Sphinx does not do by itself."""
    from pygments.lexers import TextLexer

    app.add_lexer("csv", TextLexer)
    app.connect("config-inited", lambda app, config: write_reference())
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, prepared(page, source[0])))
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("build-finished", add_index)


def write_reference() -> None:
    """Write the pages that are made from the code; one that has not changed stays as it is."""
    from reference_pages import pages

    for name, text in pages().items():
        path = ROOT / "docs" / "reference" / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def prepared(page: str, text: str) -> str:
    """A page as MyST can read it: links to folders and code become text; the first page gets the site's contents."""
    folder = (ROOT / page).parent

    def link(found: re.Match[str]) -> str:
        path = found[2].partition("#")[0]
        is_in_the_site = "://" in path or not path or path.endswith((".md", ".svg", ".png"))
        return found[0] if is_in_the_site or not (folder / path).exists() else f"{found[1]} (`{path.lstrip('./')}`)"

    kept = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    text = "".join(
        part if number % 2 else re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, part)
        for number, part in enumerate(kept)
    )
    return text + contents(text) if page == root_doc else text


def contents(text: str) -> str:
    """The hidden lists of pages that become the sidebar: what the first page links to, by its headings."""
    sections = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    trees = [("", ["/README"])]
    for heading, body in zip(sections[1::2], sections[2::2], strict=True):
        found = re.findall(r"\]\(([^)#\s]+)\.md\)", body)
        pages = [str((ROOT / "docs" / each).resolve().relative_to(ROOT)) for each in found]
        pages += [f"docs/reference/{name}" for name in GENERATED] if "docs/reference/README" in pages else []
        trees.append((heading.partition(":")[0], [f"/{each}" for each in pages]))
    return "".join(
        "\n\n```{toctree}\n:hidden:\n" + (f":caption: {name}\n" if name else "") + "\n" + "\n".join(pages) + "\n```\n"
        for name, pages in trees
    )


def as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring, which is written as Markdown, into what autodoc reads."""
    import dataclasses
    import inspect

    from reference_pages import fields_of, restructured

    lines[:] = restructured(lines)
    if inspect.isclass(obj) and dataclasses.is_dataclass(obj):
        said = [restructured([f"{each.name}: {each.comment}"])[0] for each in fields_of(obj) if each.comment]
        lines += ["", *(f"- {line}" for line in said), ""]


def add_index(app: Any, exception: Exception | None) -> None:
    """Let index.html lead to the first page, whose file lies in a folder."""
    if exception is None and app.builder.name == "html":
        target = f"{root_doc}.html"
        text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">'
        link = f'<title>aria-data</title><a href="{target}">documentation</a>\n'
        (Path(app.outdir) / "index.html").write_text(text + link, encoding="utf-8")
