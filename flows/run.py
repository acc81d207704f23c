"""Run the main job from this process: check what was asked, start Prefect's API meanwhile, run the flow."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aria_data.config import load_config, to_values
from aria_data.errors import UsageError
from aria_data.files import not_writable, printable
from aria_data.tables import address_of
from aria_data.transcribers.base import Compute

if TYPE_CHECKING:
    from flows.build import BuildSummary


ANYWHERE = Compute()


def run_build(
    source: Path,
    out: Path,
    config_path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    compute: Compute = ANYWHERE,
    dry_run: bool = False,
    verbose: bool = False,
    with_prefect: bool = True,
) -> BuildSummary:
    """Build the dataset at `out` from the recordings below `source`; see `build_dataset.build_dataset`.

    Without Prefect (`with_prefect=False`, and for a dry run) the same functions run without retries or records of
    the run. Raises `UsageError` before anything is started when the folders cannot be what was meant.
    """
    config = to_values(load_config(config_path, settings))
    _check_folders(source, out)
    if dry_run or not with_prefect:
        return _plainly(source, out, config, asdict(compute), dry_run)
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
            return build_dataset(str(source), str(out), config, asdict(compute))


def _plainly(source: Path, out: Path, config: dict, compute: dict, dry_run: bool) -> BuildSummary:
    from flows.api import quiet_environment

    with tempfile.TemporaryDirectory() as home:  # Prefect's import wants one, and a dry run may leave nothing behind
        os.environ.update(quiet_environment(Path(home), verbose=False))
        from flows.build_dataset import build_dataset

        return build_dataset.fn(str(source), str(out), config, compute, dry_run)


def _check_folders(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise UsageError(f"{printable(str(source))}: is not a folder. Name a folder with recordings.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{printable(str(out))}: is a file, but --out names a folder.")
    if source.resolve() == out.resolve():
        raise UsageError("SOURCE and --out are the same folder. Choose another --out.")
    address_of(out.absolute())
