"""Check what scores say against training: does influence foretell the losses of models that are trained on less?

SOURCE is a dataset or a folder of MIDI files, as `compare_subsets` has it. What was trained is kept in `out/cache`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aria_data.errors import UsageError
from aria_data.storage import exclusive_lock
from flows.compare_subsets import Pool, Progress, cache_in
from flows.select_subset import FILES_PER_PROCESS

if TYPE_CHECKING:
    from aria_data.compare.attribution_check import Check, CheckConfig


def check_scores(
    pool: Pool,
    out: Path,
    config: CheckConfig,
    progress: Progress = lambda what, done, total: None,
    announce: Callable[[str], None] = lambda line: None,
    processes: int = 1,
) -> Check:
    """Train, attribute, compare, and write the report into `out`. A killed run goes on.

    Raises `DatasetLocked` when another run works in `out`, `DatasetNotWritable`, and `UsageError` where fewer than two
    compositions are in the split `test`.
    """
    from aria_data.compare.attribution_check import check
    from aria_data.compare.check_report import save_report
    from aria_data.surrogate import make_windows

    if pool.test is not None and len({pool.groups[key] for key in pool.test}) < 2:
        raise UsageError("Fewer than two compositions are in the split test, so there is nothing to test on.")
    with exclusive_lock(out / ".lock"):
        cache = cache_in(out)
        readers = min(processes, 1 + len(pool.files) // FILES_PER_PROCESS)
        windows = make_windows(
            pool.files, None, pool.groups, cache, readers, lambda done, total: progress("tokens", done, total)
        )
        found = check(windows, config, pool.test, cache, progress, announce, processes)
        save_report(found, out)
    return found
