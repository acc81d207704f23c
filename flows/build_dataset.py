"""The main job: recordings in, a version of a MIDI dataset out. The recipe is `build_dataset`, top to bottom."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.build import Build, BuildSummary
from flows.downloads import DOWNLOAD
from flows.duplicates import FINGERPRINT
from flows.stages import ANNOTATE, CLASSIFY, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE


@flow(name="build-dataset", persist_result=False, validate_parameters=False)
def build_dataset(
    source: str | None,
    out: str,
    config: dict[str, Any] | None = None,
    compute: dict[str, Any] | None = None,
    dry_run: bool = False,
    name: str = "",
) -> BuildSummary:
    """Build the dataset at `out` from the recordings below `source`: a folder, an address, a list of addresses, or
    nothing, which stands for what earlier builds and crawls found.

    What is already done is not done again; a new version is made only if something changed, or to give it a `name`.
    """
    with Build.open(source, out, config, compute, dry_run, name) as build:
        build.collect()  # files of a folder or finds on the web, with what is said of them
        build.run(SCREEN)  # the text: likely solo piano?
        build.run(DOWNLOAD)  # what is not here yet: fetched, verified
        build.run(INGEST)  # the audio: whole, audible, hashed
        build.set_copies_aside()  # the same bytes again; what was removed for good
        build.run(CLASSIFY)  # a score a window
        build.run(SEGMENT)  # stretches of solo piano
        build.run(FINGERPRINT)  # what it sounds like, to know it again
        build.run(TRANSCRIBE)  # notes and pedals, a .mid a segment
        build.run(MEASURE)  # numbers about the notes
        build.run(ANNOTATE)  # composer, title, opus ...
        build.prune()  # notes outside the limits
        build.deduplicate()  # the same audio, the same recording, the same notes
        return build.release()  # a version of the manifest, if anything changed
