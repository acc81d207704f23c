"""Commands that work on audio and MIDI files without a dataset: transcribe, classify, evaluate. Thin."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from aria_data.storage import printable
from flows.cli.base import DATASET, DONE, DONE_WITH_FAILURES, Examples, compute_options, print_json


@click.command(
    cls=Examples,
    examples="""
    aria-data transcribe concert.mp3 --out concert.mid
    aria-data transcribe recordings/ more/*.flac --out midi/
    aria-data transcribe recordings/ --out midi/ --json --threads 4
    aria-data transcribe concert.mp3 --out concert.mid --transcriber bytedance --checkpoint weights.pth
    """,
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder, or for one file its .mid.")
@click.option(
    "--transcriber", default="transkun", show_default=True, help="transkun, bytedance, or PACKAGE.MODULE of yours."
)
@click.option("--checkpoint", default="", help="A file with weights, where the transcriber does not bring its own.")
@click.option("--hop-s", default=0.0, help="Seconds from one window to the next; 0: measured best.")
@click.option(
    "--correct-tuning/--as-tuned", default=True, help="Retune what is off 440 Hz by 8 to 50 cents before transcription."
)
@click.option("--heads/--published", default=True, help="Pedal and velocity by heads on transkun, or as published.")
@compute_options
@click.option("--overwrite", is_flag=True, help="Replace .mid files that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file.")
@click.option("-v", "--verbose", is_flag=True, help="Show full errors.")
def transcribe(
    files: tuple[Path, ...],
    out: Path,
    transcriber: str,
    checkpoint: str,
    hop_s: float,
    correct_tuning: bool,
    heads: bool,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int,
    overwrite: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Transcribe audio files to MIDI.

    FILES are files or folders; all of each file is transcribed, piano or not.
    """
    from aria_data.transcribe import Compute, TranscribeConfig, backends
    from flows import show
    from flows.tools.transcribe_files import plan, print_result, transcribe_files

    config = TranscribeConfig(transcriber, hop_s, correct_tuning, checkpoint, heads)
    backends.check(config, "--transcriber")
    targets = plan(files, out)
    num_failed = 0
    with show.progress() as progress:
        compute = Compute(device, dtype, batch_size, threads)
        for result in transcribe_files(targets, config, compute, progress, overwrite):
            num_failed += bool(result.error)
            print_json(asdict(result)) if as_json else print_result(result)
    sys.exit(DONE_WITH_FAILURES if num_failed else DONE)


@click.command(
    cls=Examples,
    examples="""
    aria-data classify recital.mp3
    aria-data classify recordings/ --json > classified.jsonl
    aria-data classify recital.mp3 --min-segment-s 10 --set max_gap_s=8
    """,
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--min-segment-s", type=float, help="Shortest segment, instead of 30 s.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another setting of [segment].")
@click.option("--weights", type=click.Path(path_type=Path), help="Another classifier than the one that comes along.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file.")
def classify(
    files: tuple[Path, ...],
    min_segment_s: float | None,
    settings: tuple[str, ...],
    weights: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Find solo piano in audio files: where it begins and ends.

    FILES are files or folders.
    """
    import time

    from flows import show
    from flows.tools import classify_files

    paths = classify_files.plan(files)
    config = classify_files.segment_config(settings, min_segment_s)
    classifier = classify_files.load_classifier(weights, device)
    started, results = time.perf_counter(), []
    with show.progress() as progress:
        for result in classify_files.classify_files(paths, classifier, config, progress):
            results.append(result)
            if as_json:
                print_json(result.as_json())
            elif result.error:
                show.error(result.error)
            elif result.note:
                show.error(f"{printable(Path(result.file).name)}: {result.note}")
    if not as_json:
        classify_files.print_table(results, time.perf_counter() - started)
    sys.exit(DONE_WITH_FAILURES if any(result.error for result in results) else DONE)


@click.command(
    "align",
    cls=Examples,
    examples="""
    aria-data align dataset/ --scores scores/
    aria-data align dataset/ --scores scores/ --where "composer_id = 'chopin'" --json > alignments.jsonl
    aria-data align concert.mid midi/ --scores scores/ --out beats/
    """,
)
@click.argument("files", nargs=-1, required=True, type=DATASET)
@click.option(
    "--scores", required=True, type=click.Path(path_type=Path), help="A folder of MusicXML, MIDI, Humdrum, MEI."
)
@click.option("--out", type=click.Path(path_type=Path), help="For MIDI files: a folder for beats and details.")
@click.option("--where", default="", help="Of a dataset: an SQL condition that chooses segments.")
@click.option("--cache", type=click.Path(path_type=Path), help="A folder that keeps what was read of scores.")
@click.option("--processes", default=0, show_default="one a core", type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a performance.")
def align_command(
    files: tuple[Path, ...],
    scores: Path,
    out: Path | None,
    where: str,
    cache: Path | None,
    processes: int,
    as_json: bool,
) -> None:
    """Align segments or MIDI files with scores: bars and beats.

    FILES are one dataset, of which a new version then has the result, or MIDI files and folders of them. Without a
    score there are no beats.
    """
    from aria_data.align import AlignConfig, require_partitura
    from aria_data.errors import UsageError
    from flows import show
    from flows.build.aligned import read_index
    from flows.tools import align_files

    require_partitura()
    root = files[0] if len(files) == 1 and (files[0] / "manifest").is_dir() else None
    if root and out:
        raise UsageError("--out: is for MIDI files. A dataset keeps its alignments itself.")
    if where and not root:
        raise UsageError("--where: is for a dataset. Name the MIDI files instead.")
    paths = [] if root else align_files.plan(files)
    wrong: list[str] = []

    def tell(message: str) -> None:
        wrong.append(message)
        show.error(message)

    tell_result = (lambda record: print_json(asdict(record))) if as_json else align_files.print_result
    with show.progress() as progress:
        index = read_index(scores, cache or (root / "index" / "scores" if root else None), progress, tell)
        if root:
            from flows.align import align_dataset

            summary = align_dataset(
                root, index, AlignConfig(), progress, where, processes, tell, tell_result if as_json else _nothing,
                show.error,
            )  # fmt: skip
            click.echo(summary.text, err=as_json)
        for record in align_files.align_files(paths, index, AlignConfig(), out, processes, progress, tell):
            tell_result(record)
    sys.exit(DONE_WITH_FAILURES if wrong else DONE)


def _nothing(record: object) -> None:
    """What is done with a result that is in a table."""


@click.group()
def evaluate() -> None:
    """Measure a step against labelled data."""


@evaluate.command(
    "transcription",
    cls=Examples,
    examples="""
    aria-data evaluate transcription --reference true_midi/ --estimate midi/
    aria-data evaluate transcription --reference true_midi/ --estimate midi/ --json
    """,
)
@click.option("--reference", required=True, type=click.Path(path_type=Path), help="A folder with true .mid files.")
@click.option("--estimate", required=True, type=click.Path(path_type=Path), help="A folder with those to judge.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_transcription(reference: Path, estimate: Path, as_json: bool) -> None:
    """Compare .mid files with the true ones of the same name: F1 of notes, velocities and pedal (mir_eval)."""
    from flows.evaluate import transcription

    accuracies, wrong = transcription.compare_folders(reference, estimate)
    if as_json:
        print_json(transcription.as_json(accuracies))
    else:
        transcription.print_table(accuracies)
    for line in wrong.values():
        click.echo(f"aria-data: {line}", err=True)
    sys.exit(DONE_WITH_FAILURES if wrong else DONE)


@evaluate.command(
    "classifier",
    cls=Examples,
    examples="""
    aria-data evaluate classifier --labels labels.csv
    aria-data evaluate classifier --labels labels.csv --segments segments.csv --root recordings/ --plots plots/
    aria-data evaluate classifier --segments segments.csv --json > figures.json
    """,
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV: file,label and perhaps start_s,end_s.")
@click.option("--segments", type=click.Path(path_type=Path), help="CSV: file,start_s,end_s,label of whole programmes.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the files; without it, the CSV's.")
@click.option("--min-segment-s", default=3.0, show_default=True, help="Shortest segment, for every rule.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another setting of [segment].")
@click.option("--weights", type=click.Path(path_type=Path), help="Another classifier than the one that comes along.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--plots", type=click.Path(path_type=Path), help="Draw into this folder, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_classifier_command(
    labels: Path | None,
    segments: Path | None,
    root: Path | None,
    min_segment_s: float,
    settings: tuple[str, ...],
    weights: Path | None,
    device: str,
    plots: Path | None,
    as_json: bool,
) -> None:
    """Measure the classifier on labelled recordings, beside the rules of published systems on the same scores.

    The label `piano` is to be kept. Of clips: precision and recall by threshold and by label, causes, calibration.
    Of programmes: how well the segments fit.
    """
    from aria_data.errors import UsageError
    from aria_data.pictures import require_folder
    from flows.evaluate import classifier, classifier_plots
    from flows.tools.classify_files import load_classifier, segment_config

    given = [path for path in (labels, segments) if path is not None]
    if not given:
        raise UsageError("name --labels or --segments, or both.")
    clips, programmes = (classifier.read_labels(path) if path else [] for path in (labels, segments))
    if segments:
        classifier.require_apart(segments, programmes)
    if plots:
        require_folder(plots)
    config, loaded = segment_config(settings, min_segment_s), load_classifier(weights, device)
    found = classifier.evaluate(clips, programmes, root or given[0].parent, loaded, config)
    if as_json:
        print_json(classifier.as_json(found))
    else:
        classifier.print_tables(found)
    for path in classifier_plots.draw(found, plots) if plots else []:
        click.echo(f"drawn: {path}", err=True)
    for message in found.wrong.values():
        click.echo(f"aria-data: {message}", err=True)
    sys.exit(DONE_WITH_FAILURES if found.wrong else DONE)
