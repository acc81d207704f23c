"""Run jobs from this process: check what was asked, start Prefect's API where a build wants it, run."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aria_data.config import (
    BuildConfig,
    changed_settings,
    for_crawl,
    load_config,
    load_own_config,
    to_toml,
    to_values,
)
from aria_data.errors import ConfigInvalid, UsageError
from aria_data.files import not_writable, printable
from aria_data.manifest import Manifest
from aria_data.sources import require
from aria_data.sources.base import parse_seed
from aria_data.sources.list import SUFFIXES as LIST_SUFFIXES
from aria_data.tables import address_of
from aria_data.transcribers.base import Compute

if TYPE_CHECKING:
    from aria_data.crawl import CrawlSummary
    from flows.build import BuildSummary
    from flows.fetch import FetchSummary

    Report = Callable[[CrawlSummary], None]


ANYWHERE = Compute()
DEFAULTS = Path("defaults")  # as --config: none of the settings that the dataset was last built with
MAX_SHOWN = 6  # settings


def run_build(
    source: str | Path | None,
    out: Path,
    config_path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    compute: Compute = ANYWHERE,
    dry_run: bool = False,
    verbose: bool = False,
    with_prefect: bool = True,
    name: str = "",
) -> BuildSummary:
    """Build the dataset at `out` from the recordings below `source`; see `build_dataset.build_dataset`.

    Without Prefect (`with_prefect=False`, and for a dry run) the same functions run without retries or records of
    the run. Raises `UsageError` before anything is started when the folders cannot be what was meant.
    """
    config = to_values(settings_of(out, config_path, settings))
    source = _check_source(source, out)
    if name:
        Manifest(out).require_free(name)
    if dry_run or not with_prefect:
        return _plainly(source, out, config, asdict(compute), dry_run, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(out, error) from error
    from flows.api import settings_of_environment, temporary_api, wait_until_ready

    with temporary_api(out.absolute() / ".prefect", verbose), warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        from flows.build_dataset import build_dataset

        wait_until_ready()
        with settings_of_environment():
            return build_dataset(source, str(out), config, asdict(compute), name=name)


def _plainly(source: str | None, out: Path, config: dict, compute: dict, dry_run: bool, name: str) -> BuildSummary:
    with quiet_prefect():
        from flows.build_dataset import build_dataset

        return build_dataset.fn(source, str(out), config, compute, dry_run, name)


def _check_source(source: str | Path | None, out: Path) -> str | None:
    """Give the source as `Build` takes it: a folder's path, or a seed. Raises `UsageError` when it is neither."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{printable(str(out))}: is a file, but --out names a folder.")
    address_of(out.absolute())
    if source is None:
        return None
    path, text = Path(source), str(source)
    if path.is_dir():
        if path.resolve() == out.resolve():
            raise UsageError("SOURCE and --out are the same folder. Choose another --out.")
        return text
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return f"list:{path.absolute()}"
    if path.exists() or not re.match(r"[A-Za-z_-]+:", text):
        raise UsageError(
            f"{printable(text)}: is not a folder. Name a folder with recordings, an address, or a list of addresses "
            f"({', '.join(LIST_SUFFIXES)})."
        )
    require(parse_seed(text).source)
    return text


def settings_of(out: Path, config_path: Path | None, settings: Sequence[str]) -> BuildConfig:
    """The configuration that is meant: a file's, else what the dataset was last worked on with, changed by settings.

    A dataset keeps its settings, so that whoever adds files does not change what is there by saying nothing. Which are
    kept is said; `--config defaults` forgets them.
    """
    own = own_config(out)
    if config_path is not None or own is None:
        return load_config(None if config_path == DEFAULTS else config_path, settings)
    try:
        config, unknown = load_own_config(own, settings)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{error} Name another with --config FILE, or --config defaults.") from error
    kept = changed_settings(load_own_config(own)[0])
    if kept:
        shown = ", ".join(kept[:MAX_SHOWN]) + (f" and {len(kept) - MAX_SHOWN} more" if len(kept) > MAX_SHOWN else "")
        _say(f"settings as last time ({own}): {shown}. --config defaults forgets them.")
    if unknown:
        _say(f"{own}: {', '.join(unknown)} is of an older version and does nothing any more.")
    return config


def _say(line: str) -> None:
    print(f"aria-data: {printable(line, 1000)}", file=sys.stderr, flush=True)


def own_config(root: Path) -> Path | None:
    """The configuration that a dataset was last worked on with, if it has one."""
    path = root / "dataset.toml"
    return path if path.is_file() else None


def run_crawl(out: Path, config_path: Path | None, settings: Sequence[str], report: Report) -> CrawlSummary:
    """Crawl into the dataset at `out`, in this process, and note the configuration for the build that follows."""
    from aria_data.files import write_whole

    config = for_crawl(settings_of(out, config_path, settings))
    _check_seeds(config)
    address_of(out.absolute())
    with quiet_prefect():
        from flows.crawl import crawl_into

        summary = crawl_into(out, config, report)
    write_whole(out / "dataset.toml", to_toml(config).encode())
    return summary


def _check_seeds(config: BuildConfig) -> None:
    if not config.crawl.seeds:
        raise UsageError("name a seed: an address, or SOURCE:TARGET such as search:'chopin nocturne' (crawl.seeds).")
    for seed in config.crawl.seeds:
        require(parse_seed(seed).source)


def run_fetch(
    out: Path, config_path: Path | None, settings: Sequence[str], only: set[str] | None = None
) -> FetchSummary:
    """Fetch what the dataset at `out` waits for, in this process."""
    config = settings_of(out, config_path, settings)
    with quiet_prefect():
        from flows.fetch import fetch

        return fetch(out, to_values(config), only)


def run_retry(out: Path, kinds: Sequence[str], config_path: Path | None, settings: Sequence[str]) -> FetchSummary:
    """Fetch again what failed for these kinds."""
    with quiet_prefect():
        from flows.fetch import mark

        chosen = mark(out, kinds)
    return run_fetch(out, config_path, settings, chosen)


@contextmanager
def quiet_prefect() -> Iterator[None]:
    """What may import Prefect but starts no flow: its home is a folder that goes, so nothing is left behind."""
    from flows.api import quiet_environment

    with tempfile.TemporaryDirectory() as home:
        os.environ.update(quiet_environment(Path(home), verbose=False))
        yield


def run_serve(
    out: Path,
    config_path: Path | None,
    settings: Sequence[str],
    compute: Compute,
    cron: str,
    every: str,
    port: int,
    verbose: bool,
    started: Callable[[str], None],
) -> None:
    """Serve a schedule of crawls and builds of the dataset at `out` until interrupted."""
    from flows.api import settings_of_environment, temporary_api, wait_until_ready

    config = for_crawl(settings_of(out, config_path, settings))
    every_s = _interval_s(every)
    if bool(cron) == bool(every_s):
        raise UsageError('say when, in one way: --cron "0 3 * * *", or --every 6h.')
    if cron and not re.fullmatch(
        r"@(hourly|daily|weekly|monthly|yearly)|([\d*/,\-A-Za-z#L?]+\s+){4}[\d*/,\-A-Za-z#L?]+", cron
    ):
        raise UsageError(
            f'--cron {printable(cron, 40)}: is no cron line such as "0 3 * * *" (minute, hour, day, month, weekday).'
        )
    _check_seeds(config)
    address_of(out.absolute())
    out.mkdir(parents=True, exist_ok=True)
    with temporary_api(out.absolute() / ".prefect", verbose, has_schedules=True, port=port):
        from flows.serve import Schedule, run_schedule

        wait_until_ready()
        with settings_of_environment():
            values = json.loads(json.dumps(to_values(config)))
            run_schedule(out.absolute(), values, asdict(compute), Schedule(cron, every_s), started)


def _interval_s(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip()) if text else None
    if text and match is None:
        raise UsageError(f"--every {printable(text, 20)}: write a number and a unit: 90s, 30m, 6h, 1d.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]] if match else 0.0
