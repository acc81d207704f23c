"""The code blocks of README.md and docs/: how they are found, what their marks mean, how a page is run.

Blocks that say `sh` or `python` are run, in order, in one fresh folder a page. The rest (`toml`, `csv`, `text`) is only
shown. Before a block there may be marks, which are HTML comments that readers do not see:

    <!-- begins with: recordings -->     once a page: what lies in its folder, names of functions in `page_worlds.py`
    <!-- not run: needs the web -->      why the block is not run; its `aria-data` commands are still parsed
    <!-- ends with: 2 -->                the exit code of its last command, where that is not 0
    <!-- writes: crawl.toml -->          the block is the content of this file, for the blocks after it
    <!-- output -->                      lines that the block before it prints; `...` stands for anything

`aria-data` runs in this process with the stand-ins of `fakes` for the two networks and without Prefect: what is to be
proved is that the page's commands, options, files and conditions fit together. Other commands are bash's.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import FakeTranscriber, use_fakes
from places import ROOT

WHY_NOT_RUN = (
    "needs the web",
    "needs a GPU",
    "needs a language model",
    "needs a file of yours",
    "needs an object store",
    "needs a Ray cluster",
    "needs a SLURM cluster",
    "runs until it is stopped",
    "takes minutes",
)
RUN = ("sh", "python")
MARKS = ("begins with", "not run", "ends with", "writes", "output")
EXAMPLE_SITE = "https://recitals.example.org"  # what a page may crawl: a server of the test answers


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and what its marks say."""

    page: str
    line: int
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """README.md and every Markdown page below docs/ that is not made by `make docs`."""
    found = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    return [
        "README.md",
        *sorted(str(path) for path in found if path.parts[1] != "reference" or path.name == "README.md"),
    ]


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return list(_blocks(page, (ROOT / page).read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    marks: dict[str, str] = {}
    at = 0
    while at < len(lines):
        fence = re.match(r"(\s*)(`{3,})(\S*)", lines[at])
        if fence:
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[2])
            indent = len(fence[1])
            yield Block(page, at + 1, fence[3], "\n".join(each[indent:] for each in lines[at + 1 : end]) + "\n", marks)
            at = end
        mark = re.fullmatch(r"\s*<!-- ([a-z ]+)(?:: (.*))? -->", lines[at])
        if mark and mark[1] != "begins with":
            marks = {**marks, mark[1]: mark[2] or ""}
        elif lines[at].strip():
            marks = {}
        at += 1


def begins_with(page: str) -> list[str]:
    """The names of what lies in the folder of a page."""
    found = re.search(r"^<!-- begins with: (.*) -->$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [name.strip() for name in found[1].split(",")] if found else []


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command of a shell block; a comment is none."""
    joined = re.sub(r"\\\n\s*", "", block.code)
    found = (shlex.split(line, comments=True) for line in joined.splitlines())
    return [[re.sub(r"^\.venv/bin/", "", words[0]), *words[1:]] for words in found if words]


def parse(words: list[str]) -> None:
    """Parse an `aria-data` command without running it. Raises click's errors for what does not exist."""
    from flows.cli.command import cli

    context = cli.make_context("aria-data", list(words[1:]))
    name, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    inner = command.make_context(name, rest, parent=context)
    if hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(inner, [*inner._protected_args, *inner.args])
        command.make_context(name, rest, parent=inner)


class Reader:
    """Someone who copies the blocks of a page into a terminal and a notebook, from top to bottom."""

    def __init__(self, folder: Path, patch: Any, site: str = ""):
        self.folder, self.patch, self.site = folder, patch, site
        self.names: dict[str, Any] = {"__name__": "page"}
        self.printed = ""
        patch.chdir(folder)
        _use_stand_ins(patch)

    def read(self, block: Block) -> None:
        """Do what a block says; afterwards `printed` is its output. Raises `AssertionError` where it fails."""
        if "writes" in block.marks:
            path = self.folder / block.marks["writes"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._local(block.code), encoding="utf-8")
            _install(path, self.patch)
        elif "output" in block.marks:
            self._check_output(block)
        elif block.language == "sh":
            self._run_shell(block)
        elif block.language == "python":
            self._run_python(block)

    def _local(self, text: str) -> str:
        return text.replace(EXAMPLE_SITE, self.site) if self.site else text

    def _check_output(self, block: Block) -> None:
        for line in filter(str.strip, block.code.splitlines()):
            wanted = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.strip().split("..."))
            shown = re.sub(r"[ \t]+", " ", self.printed)
            assert re.search(wanted, shown), f"{block}: {line!r} is not in what was printed:\n{self.printed}"

    def _run_python(self, block: Block) -> None:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("\n" * block.line + block.code, block.page, "exec"), self.names)
        self.printed = out.getvalue()

    def _run_shell(self, block: Block) -> None:
        self.printed, commands = "", commands_of(block)
        for number, words in enumerate(commands):
            code, text = self._run(words)
            self.printed += text
            wanted = int(block.marks.get("ends with", 0)) if number == len(commands) - 1 else 0
            assert code == wanted, f"{block}: {shlex.join(words)} ends with {code}:\n{text}"

    def _run(self, words: list[str]) -> tuple[int, str]:
        if words[0] == "aria-data":
            target = self.folder / words[-1] if len(words) > 2 and words[-2] == ">" else None
            code, text = run_command([self._local(word) for word in (words[1:-2] if target else words[1:])])
            if target:
                target.write_text(text, encoding="utf-8")
            return code, "" if target else text
        if words[0] == "export":
            for name, _, value in (word.partition("=") for word in words[1:]):
                self.patch.setenv(name, value.replace("$PWD", str(self.folder)))
                if name == "PYTHONPATH":  # read when an interpreter starts; this one runs already
                    self.patch.syspath_prepend(self.folder)
            return 0, ""
        if words == ["source", ".venv/bin/activate"]:
            return 0, ""
        done = subprocess.run(["bash", "-c", _unquoted(words)], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def network() -> Any:
    """A network as docs/pruning.md takes it: an embedding, a body and a last linear layer."""
    import torch

    parts = {"embedding": torch.nn.Embedding(20, 8), "body": torch.nn.GRU(8, 8, batch_first=True)}
    return torch.nn.ModuleDict(parts | {"head": torch.nn.Linear(8, 20)})


def _unquoted(words: list[str]) -> str:
    return " ".join(word if word in (">", "|", "&&") else shlex.quote(word) for word in words)


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run `aria-data` in this process. Gives its exit code, as `main` would, and what it printed."""
    from click.testing import CliRunner

    from aria_data.errors import AriaDataError, UsageError
    from flows.cli.command import cli

    done = CliRunner().invoke(cli, arguments)
    if isinstance(done.exception, AriaDataError):
        return (2 if isinstance(done.exception, UsageError) else 1), f"{done.output}aria-data: {done.exception}\n"
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def _install(path: Path, patch: Any) -> None:
    """Let a source that a page writes be found, as if it lay in the package's folder."""
    from aria_data.collect import sources

    if path.parent.parts[-2:] == tuple(sources.__name__.split(".")[-2:]):
        patch.setattr(sources, "__path__", [*sources.__path__, str(path.parent)])


def _use_stand_ins(patch: Any) -> None:
    """The networks of `fakes`; builds without Prefect; no waiting between requests to the test's server."""
    import flows.build_dataset
    from aria_data.transcribe import devices, midi_output
    from flows.cli import jobs

    use_fakes(patch)
    load, fake = devices.load_everywhere, FakeTranscriber()
    given = lambda config, compute: fake if config.transcriber == "transkun" else load(config, compute)  # noqa: E731
    patch.setattr(devices, "load_everywhere", given)
    midi_output._loaded.cache_clear()
    for module, name in ((jobs, "run_build"), (flows.build_dataset, "build")):
        whole = getattr(module, name)
        patch.setattr(
            module, name, lambda *given, whole=whole, **named: whole(*given, **named | {"with_prefect": False})
        )
    crawl = jobs.run_crawl
    nearby = ('web.allow_hosts=["127.0.0.1"]', "web.min_interval_s=0.0")
    patch.setattr(jobs, "run_crawl", lambda out, path, settings, report: crawl(out, path, (*settings, *nearby), report))
