"""Builds in processes of their own, for tests that kill them. The models are the stand-ins of `fakes`; everything that
writes is real.

`python build_child.py SOURCE OUT OPTION...` builds once. `python build_child.py` imports everything once and forks a
build for each line of JSON on its input, [SOURCE, OUT, OPTION...]: a build says "started" with its process's id, what
came out, and, whatever happened, how it ended.

Options: "away", segments are transcribed in another process; "prefect", a real flow run; "slow", every piece of work
takes long enough for a kill to meet it; "commit", "append", "replace" or "write_whole" with "before" or "after": it
kills itself there; "ray=ADDRESS", a cluster does the work, by `fake_worker`; NAME=VALUE, of its environment.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import fakes


def main() -> None:
    if len(sys.argv) > 1:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
        build(*sys.argv[1:])
        return
    preload()
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            try:
                build(*json.loads(line))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(process, 0)
        print(f"\nended {os.waitstatus_to_exitcode(status)}", flush=True)  # a killed one may have left half a line


def preload() -> None:
    """Import what a build imports and compile what it compiles, once. Nothing that starts threads: it is forked."""
    from flows.engine import quiet_prefect

    with quiet_prefect():
        import av  # noqa: F401
        import deltalake  # noqa: F401
        import duckdb  # noqa: F401
        import torch  # noqa: F401

        import flows.build_dataset
        import flows.cli.jobs  # noqa: F401
    from aria_data.measure.quality import analyse_sound, fit
    from aria_data.midi import Note, Performance

    fit(analyse_sound([fakes.melody(4)]), Performance([Note(0.0, 0.4, 60, 64), Note(0.5, 0.9, 64, 64)]))


def build(source: str, out: str, *options: str) -> None:
    from aria_data.storage import open_root
    from flows.cli.jobs import run_build

    os.environ.update(
        dict(option.split("=", 1) for option in options if "=" in option and not option.startswith("ray="))
    )
    fakes.use_fakes(_Setter)
    if "away" in options:
        go_away(Path(out).parent)
    if "slow" in options:
        take_long()
    for place in {"commit", "append", "replace", "write_whole"} & set(options):
        die_at(place, "before" in options)
    settings = ["segment.min_segment_s=4", "ingest.min_duration_s=1"]
    settings += ["screen.scorer=rules", "screen.min_relevance_score=3"]
    engine = engine_of(options)
    print(f"started {os.getpid()}", flush=True)
    summary = run_build(Path(source), open_root(out), None, settings, with_prefect="prefect" in options, engine=engine)
    print(json.dumps(dataclasses.asdict(summary)), flush=True)


def engine_of(options: tuple[str, ...]) -> Any:
    from flows.engine.orders import Engine

    addresses = [option.removeprefix("ray=") for option in options if option.startswith("ray=")]
    if not addresses:
        return Engine()
    import ray_nodes

    ray_nodes.use_workers_of_tests(_Setter, os.environ["MARKS"])
    return Engine("ray", addresses[0])


def go_away(marks: Path) -> None:
    from flows.engine.stages import TRANSCRIBE
    from flows.executors import local

    local.PLACED = frozenset({TRANSCRIBE.name})
    local.WORK_OFF, local.LOAD = "fake_worker:work_off", "fake_worker:load"
    os.environ.setdefault("MARKS", str(marks))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def take_long() -> None:
    from aria_data.storage import appending
    from flows.engine import tasks
    from flows.engine.context import BuildContext

    appending.FLUSH_AFTER_S = 0.0
    tasks.MAX_ITEMS_PER_SHARD = 3
    decoder = BuildContext.transcriber.decoder

    def slowly():
        time.sleep(0.15)
        return decoder()

    BuildContext.transcriber.decoder = slowly
    os.environ["SLOW"] = "1"  # for the other process


def die_at(place: str, is_before: bool) -> None:
    """Make this process kill itself right before or right after a write of that kind."""
    from aria_data.manifest import Manifest
    from aria_data.storage.stage_tables import RecordTable, StageTable
    from aria_data.transcribe import midi_output

    owner = {"append": StageTable, "commit": Manifest, "replace": RecordTable, "write_whole": midi_output}[place]
    method = "replace_rows" if place == "replace" else place
    real, left = getattr(owner, method), 2 if place in ("append", "write_whole") else 1

    def deadly(*arguments, **settings):
        nonlocal left
        left -= 1
        if left == 0 and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **settings)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, deadly)


class _Setter:
    setattr = staticmethod(setattr)
    setenv = os.environ.__setitem__


if __name__ == "__main__":
    main()
