"""Checks of this machine, its packages and a dataset: what each found, and what to do about it. Changes nothing."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import click

from aria_data.config import BuildConfig
from aria_data.errors import AriaDataError
from aria_data.storage import exclusive_lock, json_line, local_folder, printable
from aria_data.web.client import JS_RUNTIMES

OK, WARNING, FAILURE = "ok", "warning", "failure"
YT_DLP_DAYS = 60  # sites change; releases come every few weeks
MIN_FREE_BYTES = 10 << 30  # some 300 hours of compressed audio
MIN_OPEN_FILES = 1024
# Pins that are known to work together; with others schedules never fire or every flow fails.
PINS = {"prefect": r"3\.8\.", "fastapi": r"0\.(\d\d|1[0-4]\d|150)\.", "sqlalchemy": r"2\.0\."}


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    state: str  # ok, warning or failure
    saw: str
    advice: str = ""


def examine(root: Path | None, config: BuildConfig) -> Iterator[Check]:
    """Run all checks; those of a dataset only with `root`. A check that raises is a result as well."""
    checks: list[Callable[[], Iterator[Check]]] = [
        _machine,
        _packages,
        _yt_dlp,
        _js_runtime,
        _ffmpeg,
        _models,
        lambda: _language_model(config),
        lambda: _limits(config),
        lambda: _disk(root or Path.cwd()),
    ]
    if root is not None:
        checks.append(lambda: _dataset(root, config))
    for check in checks:
        try:
            yield from check()
        except AriaDataError as error:
            yield Check("check", FAILURE, printable(str(error)))
        except Exception as error:  # a bug in one check must not hide the others
            yield Check("check", WARNING, f"{type(error).__name__}: {printable(str(error))}", "please report this")


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    saw = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores"
    is_known = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Check("machine", OK if is_known else WARNING, saw, "" if is_known else "use Python 3.11 or 3.12")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_OPEN_FILES:
        yield Check("open files", WARNING, f"at most {soft}", f"ulimit -n {MIN_OPEN_FILES}")
    else:
        yield Check("open files", OK, f"at most {soft}")


def _packages() -> Iterator[Check]:
    for name, pattern in PINS.items():
        found = version(name)
        if re.match(pattern, found):
            yield Check(name, OK, found)
        else:
            yield Check(
                name, FAILURE, found, "install with -c constraints.txt: other versions break schedules or flows"
            )


def _yt_dlp() -> Iterator[Check]:
    from yt_dlp.version import __version__

    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", __version__)
    days = (datetime.now(UTC).date() - date(*map(int, match.groups()))).days if match else YT_DLP_DAYS + 1
    saw = f"{__version__}, {days} days old"
    if days > YT_DLP_DAYS:
        yield Check("yt-dlp", WARNING, saw, "sites change often: pip install --upgrade yt-dlp")
    else:
        yield Check("yt-dlp", OK, saw)


def _js_runtime() -> Iterator[Check]:
    found = [name for name in JS_RUNTIMES if shutil.which("qjs" if name == "quickjs" else name)]
    try:
        solver = f", yt-dlp-ejs {version('yt-dlp-ejs')}"
    except PackageNotFoundError:
        solver = ""
    if found:
        advice = "" if solver else "for all of YouTube also: pip install yt-dlp-ejs"
        yield Check("JavaScript runtime", OK if solver else WARNING, ", ".join(found) + solver, advice)
    else:
        yield Check("JavaScript runtime", WARNING, "none", "some sites need one: install deno or node")


def _ffmpeg() -> Iterator[Check]:
    import av

    yield Check("FFmpeg", OK, f"its libraries come with PyAV {av.__version__}; no program is needed or used")


def _models() -> Iterator[Check]:
    import torch

    from classifiers import checkpoint

    device = f"{torch.cuda.device_count()} GPU" if torch.cuda.is_available() else "CPU only"
    yield Check("torch", OK, f"{torch.__version__}, {device}")
    checkpoint.load(checkpoint.DEFAULT_PATH)
    yield Check("classifier", OK, f"sha256 {checkpoint.sha256_of(checkpoint.DEFAULT_PATH)[:12]}")
    yield Check("transcriber", OK, f"transkun {version('transkun')}, weights in its package")


def _language_model(config: BuildConfig) -> Iterator[Check]:
    key, base = os.environ.get("OPENAI_API_KEY", ""), os.environ.get("OPENAI_BASE_URL", "")
    if not key and not base:
        state = FAILURE if config.screen.scorer == "llm" else OK
        advice = "set OPENAI_API_KEY, and OPENAI_BASE_URL for a server of your own" if state == FAILURE else ""
        yield Check("language model", state, "no key is set; metadata is screened by rules", advice)
        return
    from openai import OpenAI, OpenAIError

    host = urlsplit(base).hostname or "the usual address"
    try:
        models = OpenAI(max_retries=0, timeout=5.0, api_key=key or "none").models.list()
        names = [one.id for one in models.data]
    except OpenAIError as error:
        yield Check("language model", FAILURE, f"{host}: {type(error).__name__}", "check key, OPENAI_BASE_URL, network")
        return
    yield Check("language model", OK, f"{printable(host)} answers, {len(names)} models")


def _limits(config: BuildConfig) -> Iterator[Check]:
    crawl, web = config.crawl, config.web
    dollars = f"${config.llm.max_dollars:g}" if config.llm.max_dollars >= 0 else "any sum for a language model"
    saw = (
        f"{crawl.max_candidates or 'any number of'} candidates, {crawl.max_requests or 'any number of'} requests, "
        f"{crawl.max_minutes:g} min, {dollars} a run; one request to a host every {web.min_interval_s:g} s"
    )
    is_polite = web.min_interval_s >= 0.5 and web.is_robots_honoured
    yield Check("budgets", OK if is_polite else WARNING, saw, "" if is_polite else "only for a site of your own")
    if not web.contact:
        yield Check("contact", WARNING, "the user agent names no contact", "set web.contact to your page or address")
    if web.cookies:
        there = Path(web.cookies).is_file()
        yield Check("cookies", OK if there else FAILURE, printable(web.cookies), "" if there else "name a cookies.txt")


def _disk(place: Path) -> Iterator[Check]:
    place = local_folder(place)
    there = next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    advice = "" if free > MIN_FREE_BYTES else "an hour of fetched audio takes 30 to 300 MB"
    yield Check("disk", WARNING if advice else OK, f"{free / (1 << 30):.0f} GB free at {there}", advice)
    if not os.access(there, os.W_OK):
        yield Check("disk", FAILURE, f"{there} may not be written", "check its permissions")


def _dataset(root: Path, config: BuildConfig) -> Iterator[Check]:
    from flows.engine.attempts import Attempts
    from flows.engine.crawling import opt_outs_of

    if not root.is_dir():
        yield Check("dataset", WARNING, f"{root} is not there", f"aria-data crawl SEED --out {root}")
        return
    try:
        with exclusive_lock(root / ".lock"):
            yield Check("dataset", OK, f"{root}: not locked")
    except AriaDataError as error:
        yield Check("dataset", WARNING, str(error))
    by_kind = Attempts(root).by_kind()
    if by_kind:
        counts = ", ".join(f"{len(ids)} {kind}" for kind, ids in sorted(by_kind.items()))
        yield Check("not fetched", WARNING, counts, f"aria-data retry {root} --kind {next(iter(sorted(by_kind)))}")
    opt_outs = opt_outs_of(root, config)
    num = sum(map(len, (opt_outs.ids, opt_outs.addresses, opt_outs.domains, opt_outs.uploaders)))
    yield Check("opt-outs", OK, f"{num} on record")


def show(checks: list[Check], as_json: bool) -> None:
    """Print the results as a table, or as one JSON object a line."""
    if as_json:
        for check in checks:
            click.echo(json_line(check.__dict__), nl=False)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found", "advice")
    marks = {OK: ("ok", "green"), WARNING: ("warning", "yellow"), FAILURE: ("failure", "red")}
    for check in checks:
        mark, colour = marks[check.state]
        table.add_row(Text(mark, colour), check.name, Text(check.saw), Text(check.advice))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
