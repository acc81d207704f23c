"""The reference pages of the site, as Markdown made from the code: commands, settings, columns, reasons, the library.

Pure functions: nothing is written here. `conf.py` writes what `pages()` gives into `docs/reference/`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import re
import tokenize
import typing
from collections.abc import Iterator
from typing import Any

import click

ROOMS = (  # of the library's page, as they follow each other in a build
    "aria_data",
    "aria_data.collect",
    "aria_data.screen",
    "aria_data.download",
    "aria_data.audio",
    "classifiers",
    "aria_data.segment",
    "aria_data.transcribe",
    "aria_data.measure",
    "aria_data.annotate",
    "aria_data.deduplicate",
    "aria_data.release",
    "aria_data.manifest",
    "aria_data.exports",
    "aria_data.surrogate",
    "aria_data.pruning",
    "aria_data.compare",
    "aria_data.midi",
    "aria_data.records",
    "aria_data.errors",
    "flows.build_dataset",
)


def pages() -> dict[str, str]:
    """Every page by its name."""
    return {
        "commands": commands(),
        "settings": settings(),
        "columns": columns(),
        "reasons": reasons(),
        "library": library(),
    }


def commands() -> str:
    """The help of every command, by group."""
    from flows.cli.command import GROUPS, cli

    lines = ["# Commands", "", "`aria-data COMMAND --help` prints the same.", ""]
    for title, group in GROUPS.items():
        lines += [f"## {title}", ""]
        for command in group:
            lines += _help_of(command, f"aria-data {command.name}", click.Context(cli, info_name="aria-data"))
    return "\n".join(lines)


def _help_of(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, parent=parent, max_content_width=110, terminal_width=110)
    yield from (f"### {name}", "", "```text", command.get_help(context), "```", "")
    for each in getattr(command, "commands", {}).values():
        yield from _help_of(each, f"{name} {each.name}", context)


def settings() -> str:
    """Every setting of a build: its type, its default, and the comment beside it in the code."""
    from aria_data.config import BuildConfig

    lines = [
        "# Settings",
        "",
        "One table a step, as in `dataset.toml`. `--set STEP.KEY=VALUE` changes one.",
        "",
    ]
    for name, record in typing.get_type_hints(BuildConfig).items():
        lines += [f"## {name}", "", markdown(inspect.getdoc(record) or ""), ""]
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
        for each in fields_of(record):
            default = f"`{each.default}`" if each.default else ""
            lines.append(f"| `{name}.{each.name}` | {cell(each.type)} | {cell(default)} | {cell(each.comment)} |")
        lines.append("")
    return "\n".join(lines)


def columns() -> str:
    """The columns of the manifest, and the fields of the records in the other tables."""
    from aria_data import records
    from aria_data.manifest.columns import columns as fixed

    lines = ["# Columns", "", "## The manifest", "", "| column | type | unit | may be empty | meaning | example |"]
    lines.append("|---|---|---|---|---|---|")
    for column in fixed():
        example = "" if column["example"] is None else f"`{column['example']}`"
        values = (column["type"], column["unit"], "yes" if column["nullable"] else "no", column["description"], example)
        lines.append(f"| `{column['name']}` | {' | '.join(map(cell, values))} |")
    lines += [
        "",
        "## Records of the other tables",
        "",
        "`aria-data sql` reads most of them; its help names the tables.",
        "",
    ]
    for name, record in inspect.getmembers(records, dataclasses.is_dataclass):
        lines += [
            f"### {name}",
            "",
            markdown(inspect.getdoc(record) or ""),
            "",
            "| field | type | meaning |",
            "|---|---|---|",
        ]
        lines += [f"| `{each.name}` | {cell(each.type)} | {cell(each.comment)} |" for each in fields_of(record)]
        lines.append("")
    return "\n".join(lines)


def reasons() -> str:
    """Why something fails: kinds of fetches, reasons of errors."""
    from aria_data import errors
    from aria_data.web.failures import KINDS

    lines = [
        "# Reasons",
        "",
        "Reasons of rejections and unreadable audio: [the data dictionary](../../manifests/README.md#reasons).",
        "",
        "## Why something was not fetched",
        "",
        "| kind | is tried again by itself | next |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{kind.name}` | {'yes' if kind.is_temporary else 'no'} | {cell(kind.next_step)} |"
        for kind in KINDS.values()
    ]
    lines += ["", "## Errors", "", "```text", *(errors.__doc__ or "").strip().splitlines(), "```", ""]
    lines += ["| error | reason in the tables | what it says |", "|---|---|---|"]
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.AriaDataError):
            said = (inspect.getdoc(error) or "").split("\n\n")[0]
            lines.append(f"| `{name}` | `{error.reason}` | {cell(markdown(said))} |")
    return "\n".join([*lines, ""])


def library() -> str:
    """What each room says of itself, and the names that it hands on, by autodoc."""
    shown: set[int] = set()
    lines = ["# Library", "", "[The library, without the command line](../library.md) shows the front door.", ""]
    for room in ROOMS:
        module = importlib.import_module(room)
        names = getattr(module, "__all__", None) or _own_names(module)
        lines += [f"## {room}", "", markdown(inspect.getdoc(module) or ""), ""]
        for name in names:
            what = getattr(module, name)
            if id(what) in shown:
                continue
            shown.add(id(what))
            if inspect.isclass(what):
                lines += _directive("autoclass", f"{room}.{name}", ":members:")
            elif callable(what):
                lines += _directive("autofunction", f"{room}.{name}")
    return "\n".join(lines)


def _own_names(module: Any) -> list[str]:
    """The public classes and functions that a module itself defines, in its order."""
    tree = ast.parse(inspect.getsource(module))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [each.name for each in tree.body if isinstance(each, kinds) and not each.name.startswith("_")]


def _directive(kind: str, name: str, *options: str) -> list[str]:
    return ["```{eval-rst}", f".. {kind}:: {name}", *(f"   {option}" for option in options), "```", ""]


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a dataclass with the comment beside it."""

    name: str
    type: str
    default: str
    comment: str


def fields_of(record: type) -> list[Field]:
    """The fields of a dataclass in order, as its source shows them; those it inherits come first."""
    classes = [each for each in reversed(record.__mro__) if dataclasses.is_dataclass(each)]
    found = {field.name: field for each in classes for field in _own_fields(each)}
    return list(found.values())


def _own_fields(record: type) -> list[Field]:
    source = inspect.cleandoc(inspect.getsource(record))
    found = ast.parse(source).body[0]
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return [
        Field(
            each.target.id,
            ast.unparse(each.annotation),
            ast.unparse(each.value) if each.value else "",
            " ".join(filter(None, (comments.get(line, "") for line in range(each.lineno, (each.end_lineno or 0) + 1)))),
        )
        for each in getattr(found, "body", [])
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]


def cell(text: str) -> str:
    """A text in one cell of a table."""
    return markdown(" ".join(text.split())).replace("|", r"\|")


def markdown(text: str) -> str:
    """A docstring as Markdown: what is in no code span is text, not HTML."""
    parts = re.split(r"(`[^`\n]*`|^ {4}.*$)", text, flags=re.MULTILINE)
    return "".join(
        part if number % 2 else part.replace("<", "&lt;").replace("*", r"\*") for number, part in enumerate(parts)
    )


def restructured(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText, which autodoc wants: paragraphs, lists, code spans and indented examples."""
    result: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if paragraph.startswith("    "):
            result += ["::", "", *(f"    {line}" for line in paragraph.splitlines()), ""]
            continue
        parts = re.split(r"(`[^`]*`)", paragraph)
        plain = (re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2])
        code = (f"``{' '.join(part[1:-1].split())}``" for part in parts[1::2])
        text = "".join(part for pair in zip(plain, [*code, ""], strict=True) for part in pair)
        result += [line.strip() if not line.startswith("- ") else line for line in _unwrapped(text)] + [""]
    return result


def _unwrapped(text: str) -> Iterator[str]:
    """The items of a list, or the paragraph, each in one line: a line's indentation means nothing then."""
    for item in re.split(r"\n(?=- )", text):
        yield " ".join(item.split())
