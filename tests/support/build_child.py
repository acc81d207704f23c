"""A build in a process of its own, for tests that kill it: `python build_child.py SOURCE OUT [prefect] [slow]`.

The models are the stand-ins of `fakes`; everything that writes is real. "slow" makes every piece of work take long
enough for a kill to meet it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fakes


def main() -> None:
    from flows.cli.jobs import run_build
    from flows.engine import tasks
    from flows.engine.context import BuildContext

    source, out, *options = sys.argv[1:]
    fakes.use_fakes(_Setter)
    if "slow" in options:
        tasks.FLUSH_AFTER_S = 0.0
        tasks.MAX_ITEMS_PER_SHARD = 3
        decoder = BuildContext.transcriber.decoder

        def slowly():
            time.sleep(0.15)
            return decoder()

        BuildContext.transcriber.decoder = slowly
    settings = ["segment.min_segment_s=4", "ingest.min_duration_s=1"]
    print("started", flush=True)
    summary = run_build(Path(source), Path(out), None, settings, with_prefect="prefect" in options)
    print(json.dumps(dataclasses.asdict(summary)), flush=True)


class _Setter:
    setattr = staticmethod(setattr)


if __name__ == "__main__":
    main()
