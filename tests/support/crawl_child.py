"""Crawls and fetches in processes of their own, for tests that kill them: `python crawl_child.py SEED OUT`.

Everything is imported once. For each line on its input this forks a process that crawls from the seed and fetches what
was accepted; it prints the process's id at once and how it ended when it has.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from flows.engine import quiet_prefect

SETTINGS = (
    "web.allow_private=true",
    "web.min_interval_s=0",
    "web.jitter=0",
    "web.max_failures=1000",
    "crawl.max_depth=0",
)


def main() -> None:
    seed, out = sys.argv[1], Path(sys.argv[2])
    with quiet_prefect():
        from aria_data.config import for_crawl, load_config, to_values
        from flows.crawl import crawl_into
        from flows.fetch import fetch

        config = for_crawl(load_config(None, (*SETTINGS, f'crawl.seeds=["{seed}"]', "crawl.leads_at_once=4")))
        for _ in sys.stdin:
            process = os.fork()
            if process == 0:
                try:
                    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
                    crawl_into(out, config)
                    fetch(out, to_values(config))
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            print(process, flush=True)
            _, status = os.waitpid(process, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
