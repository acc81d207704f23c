"""What a user asks a build or crawl to do, checked before anything is started. Imports no Prefect."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aria_data.collect.sources import require
from aria_data.collect.sources.base import parse_seed
from aria_data.collect.sources.list import SUFFIXES as LIST_SUFFIXES
from aria_data.config import (
    BuildConfig,
    build_record,
    changed_settings,
    load_config,
    load_own_config,
    names_all,
    to_values,
    with_values,
)
from aria_data.errors import ConfigInvalid, UsageError
from aria_data.manifest import Manifest
from aria_data.storage import printable
from aria_data.storage.delta_tables import address_of
from aria_data.transcribe import Compute

ANYWHERE = Compute()
ENGINES = ("local", "ray")
DEFAULTS = Path("defaults")  # as --config: the default settings, not those that the dataset was last built with
MAX_SHOWN = 6  # at most so many kept settings are listed


@dataclass(frozen=True)
class Engine:
    """Who does the work on sound. None of this changes a result. Raises `UsageError` for what cannot be."""

    name: str = "local"  # or ray
    address: str = ""  # of a Ray cluster: auto, ray://HOST:PORT; "": one is started on this machine
    workers: int = 0  # processes that work at the same time, besides those with a GPU; 0: one a core
    gpus_per_worker: float = 1.0  # below 1: several share one
    price_per_hour: float = 0.0  # dollars, of all machines together; 0: not known

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"--engine {printable(self.name)}: is not one of {', '.join(ENGINES)}.")
        if self.name == "local" and (self.address or self.workers):
            raise UsageError("--address and --workers are for --engine ray.")
        if self.workers < 0 or not self.gpus_per_worker > 0:
            raise UsageError("--workers must not be negative, and --gpus-per-worker must be above 0.")
        if not 0 <= self.price_per_hour < math.inf:
            raise UsageError("--price-per-hour is a number of dollars, 0 or more.")


@dataclass(frozen=True)
class BuildOrder:
    """A build whose request was checked, as plain values."""

    source: str | None  # a folder, an address, a list; None: what earlier builds and crawls found
    out: Path
    config: Mapping[str, Any]  # fields of `BuildConfig`
    compute: Mapping[str, Any]  # fields of `Compute`
    name: str = ""  # of the version that is released
    is_dry_run: bool = False
    engine: Mapping[str, Any] = field(default_factory=dict)  # fields of `Engine`


THIS_MACHINE = Engine()


def order_build(
    source: str | Path | None,
    out: Path,
    config_path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    compute: Compute = ANYWHERE,
    dry_run: bool = False,
    name: str = "",
    engine: Engine = THIS_MACHINE,
) -> BuildOrder:
    """Check a request to build, of a command or of a flow run, and give it as plain values. Nothing is written.

    `config_path` is a TOML file or `defaults`; `settings` are single ones, such as `segment.min_segment_s=20`, and
    `values` are some or all of them, nested. Raises `UsageError` for a wrong source, folder or name, `ConfigInvalid`
    for a wrong setting or an unknown source.
    """
    checked_config = settings_of(out, config_path, settings, values)
    config = to_values(checked_config)
    checked = check_source(source, out)
    require_scores(checked_config.release.scores)
    if scores := checked_config.release.scores:
        config["release"]["scores"] = str(Path(scores).absolute())  # the dataset keeps it
    if name:
        Manifest(out).require_free(name)
    return BuildOrder(checked, out, config, asdict(compute), name, dry_run, asdict(engine))


def require_scores(folder: str) -> None:
    """Raise `UsageError` where scores are asked for that are not there, or that nothing here can read."""
    if not folder:
        return
    from aria_data.align.score_files import find_scores, require_partitura

    require_partitura()
    try:
        find_scores(Path(folder))
    except UsageError as error:
        text = str(error).replace("--scores", "release.scores", 1)
        raise UsageError(f"{text} `--set release.scores=` does without.") from error


def check_source(source: str | Path | None, out: Path) -> str | None:
    """Give the source as `Build` takes it: a folder's path, or a seed; None for None.

    Raises `UsageError` for anything else or an `out` that cannot be used, `ConfigInvalid` for an unknown source.
    """
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


def settings_of(
    out: Path, config_path: Path | None, settings: Sequence[str], values: Mapping[str, Any] | None = None
) -> BuildConfig:
    """The configuration to work with: a file's, else the one the dataset was last built with; then what is named.

    `settings` name single ones, as a command does, `values` nested ones, as a flow run does. A dataset keeps its
    settings, so that adding files without naming settings does not change what is there. Those that are kept are
    printed; `--config defaults` drops them. Raises `ConfigInvalid`.
    """
    if values is not None and names_all(values):  # of an order that was checked before
        return build_record(BuildConfig, values, "config")
    own = own_config(out)
    if config_path is not None or own is None:
        config = load_config(None if config_path == DEFAULTS else config_path, settings)
    else:
        config = _kept_settings(own, settings)
    return with_values(config, values, "config") if values else config


def _kept_settings(own: Path, settings: Sequence[str]) -> BuildConfig:
    try:
        config, unknown = load_own_config(own, settings)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{error} Name another with --config FILE, or --config defaults.") from error
    kept = changed_settings(load_own_config(own)[0])
    if kept:
        shown = ", ".join(kept[:MAX_SHOWN]) + (f" and {len(kept) - MAX_SHOWN} more" if len(kept) > MAX_SHOWN else "")
        report(f"settings as last time ({own}): {shown}. --config defaults forgets them.")
    if unknown:
        report(f"{own}: {', '.join(unknown)} is of an older version and does nothing any more.")
    return config


def report(line: str) -> None:
    """Say one line to the person who started the command."""
    with suppress(BrokenPipeError):
        print(f"aria-data: {printable(line, 1000)}", file=sys.stderr, flush=True)


def own_config(root: Path) -> Path | None:
    """The file with the configuration that a dataset was last built with; None where there is none."""
    path = root / "dataset.toml"
    return path if path.is_file() else None


def check_seeds(config: BuildConfig) -> None:
    """Raise `UsageError` where `crawl.seeds` is empty or malformed, `ConfigInvalid` for an unknown source."""
    if not config.crawl.seeds:
        raise UsageError("name a seed: an address, or SOURCE:TARGET such as search:'chopin nocturne' (crawl.seeds).")
    for seed in config.crawl.seeds:
        require(parse_seed(seed).source)
