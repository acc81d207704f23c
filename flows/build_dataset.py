"""The main recipe: recordings in, a version of a MIDI dataset out. `build_dataset` lists the steps in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from aria_data.storage import local_folder, not_writable, open_root
from aria_data.transcribe import Compute
from flows.build.assemble import Build
from flows.build.stream import Lane
from flows.build.unchanged import last_summary
from flows.engine import BuildOrder, order_build
from flows.engine.downloads import DOWNLOAD
from flows.engine.orders import ANYWHERE, THIS_MACHINE, Engine
from flows.engine.prefect_environment import kept_environment
from flows.engine.recorder import run_alone, run_recorded
from flows.engine.stages import ANNOTATE, CLASSIFY, FINGERPRINT, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE
from flows.plan.planning import planned_summary
from flows.show.summaries import BuildSummary


@flow(name="build-dataset", persist_result=False, validate_parameters=False)
def build_dataset(
    source: str | None,
    out: str,
    config: dict[str, Any] | None = None,
    compute: dict[str, Any] | None = None,
    dry_run: bool = False,
    name: str = "",
    engine: dict[str, Any] | None = None,
) -> BuildSummary:
    """Build the dataset at `out` from `source`: a folder, an address or a list of addresses.

    Without a source it works on what earlier builds and crawls found. Settings that `config` does not name are those
    that the dataset was last built with. Work that is done already is not repeated. A new version is released only if
    something changed, or to give it a `name`. Raises `UsageError` or `ConfigInvalid` as the command does.
    """
    order = order_build(
        source,
        open_root(out),
        values=config,
        compute=Compute(**(compute or {})),
        dry_run=dry_run,
        name=name,
        engine=Engine(**(engine or {})),
    )
    if dry_run:
        return planned_summary(order)  # the same steps, with the results that are there
    with Build.open(order.source, out, order.config, order.compute, name, engine=order.engine) as build:
        build.collect()  # files of a folder or finds on the web, with what is said of them
        build.pass_through(  # shard by shard: each lane is a thread, so different shards are in different lanes
            Lane(
                "text",
                SCREEN,  # the text: likely solo piano?
                DOWNLOAD,  # what is not here yet: fetched, verified
            ),
            Lane(
                "sound",
                INGEST,  # the audio: whole, audible, hashed
                build.stream.reject_same_files,  # the same bytes again; what was removed for good
                CLASSIFY,  # a score a window
                SEGMENT,  # spans of solo piano
                build.stream.number_segments,  # the numbers that this music had before; what was removed is cut out
                FINGERPRINT,  # what it sounds like, to know it again
            ),
            Lane("notes", TRANSCRIBE),  # notes and pedals, a .mid a segment
            Lane(
                "tags",
                MEASURE,  # numbers about the notes
                ANNOTATE,  # composer, title, opus ...
            ),
        )
        build.prune()  # notes outside the limits
        build.align()  # bars and beats, along scores, if a setting names a folder of them
        build.deduplicate()  # the same audio, the same recording, the same notes
        return build.release()  # a version of the manifest, if anything changed


def build(
    source: str | Path | None,
    out: str | Path,
    config_path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    compute: Compute = ANYWHERE,
    dry_run: bool = False,
    verbose: bool = False,
    with_prefect: bool = True,
    name: str = "",
    engine: Engine = THIS_MACHINE,
) -> BuildSummary:
    """Build the dataset at `out` from a script or a notebook, as `aria-data build` does.

    Raises `UsageError` or `ConfigInvalid` before anything is started (see `order_build`), and `DatasetLocked` when
    another build works in `out`. With `with_prefect=False` the same functions run without retries and without a record
    of the run.
    """
    order = order_build(
        source, open_root(out), config_path, settings, compute=compute, dry_run=dry_run, name=name, engine=engine
    )
    return last_summary(order) or carry_out(order, verbose, with_prefect)


def carry_out(order: BuildOrder, verbose: bool = False, with_prefect: bool = True) -> BuildSummary:
    """Carry out a checked order. Prefect's API runs as long as the build does; its records are kept in the dataset.

    A dry run, and a build without Prefect, start no API; a build whose API cannot be had goes on without. The
    environment is as before afterwards. Raises `DatasetNotWritable` where `out` cannot be made.
    """
    settings = dict(order.config), dict(order.compute)
    plain = (order.source, str(order.out), *settings, order.is_dry_run, order.name, dict(order.engine))
    with kept_environment():
        if order.is_dry_run or not with_prefect:
            return run_alone(build_dataset, plain, verbose)
        try:
            (home := local_folder(order.out.absolute())).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(order.out, error) from error
        return run_recorded(build_dataset, plain, home / ".prefect", verbose)
