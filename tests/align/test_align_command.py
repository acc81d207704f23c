"""`aria-data align`: on a dataset and on MIDI files, what it writes, and that finished work is not done again."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, nullcontext

import mir_eval
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from browsing import Visitor
from click.testing import CliRunner
from datasets_made import row_with_midi
from scores_made import made_score, musicxml, perform

pytest.importorskip("parangonar", reason="`aria-data align` needs the extra `align`, which is not installed")

from aria_data.align import AlignConfig, Score, ScoreIndex, read_scores
from aria_data.errors import DatasetCorrupt, DatasetNotFound
from aria_data.manifest import Dataset, Manifest
from aria_data.midi import Performance, midi_bytes
from aria_data.records import SegmentAlignment
from aria_data.release.alignments import COLUMNS as ALIGNED
from aria_data.storage import exclusive_lock, open_root
from aria_data.storage.stage_tables import RecordTable
from flows.align import align_dataset
from flows.cli.command import cli
from flows.remove import remove_items
from flows.report.views import open_views, select


class Silent:
    """Progress that nobody sees."""

    def stage(self, *words):
        return nullcontext()

    def advance(self, audio_s):
        pass


def run(*words) -> tuple[int, list[dict], str]:
    result = CliRunner().invoke(cli, ["align", *map(str, words), "--processes", "1", "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    said = (
        result.stderr if result.exception is None or isinstance(result.exception, SystemExit) else str(result.exception)
    )
    return result.exit_code, lines, said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six scores, and a dataset of segments: the right tag, none, a wrong one, and music without a score."""
    root = tmp_path_factory.mktemp("aligned")
    (root / "scores").mkdir()
    written = [made_score(number, title=f"Piano Sonata in C major, K. {280 + number}") for number in range(6)]
    for number, score in enumerate(written):
        (root / "scores" / f"{number}.musicxml").write_text(musicxml(score))
    played = {
        "local-a_0": (perform(written[0]), "mozart:k280"),
        "local-b_0": (perform(written[1], list(range(4, 16))), ""),
        "local-c_0": (perform(written[2]), "mozart:k285"),
        "local-d_0": (perform(made_score(77)), ""),
    }
    rows = []
    for segment_id, (performance, tag) in played.items():
        content = midi_bytes(Performance(performance.notes))
        rows.append(row_with_midi(root / "dataset", segment_id, content, composition_id=tag, **dict.fromkeys(ALIGNED)))
    Manifest(root / "dataset").commit(rows)
    return root


@pytest.fixture(scope="module")
def first_run(folder):
    return run(folder / "dataset", "--scores", folder / "scores")


def test_segments_of_a_dataset_get_bars_beats_and_a_judgement_of_their_tags(folder, first_run):
    code, lines, said = first_run
    found = {line["segment_id"]: line for line in lines}
    assert code == 0, said
    assert {name: line["score_id"] for name, line in found.items() if not line["reason"]} == {
        "local-a_0": "0.musicxml",
        "local-b_0": "1.musicxml",
        "local-c_0": "2.musicxml",
    }
    assert found["local-a_0"]["composition_agrees"] is True
    assert found["local-b_0"]["proposed_composition"] == "mozart:k281"
    assert (found["local-b_0"]["first_bar"], found["local-b_0"]["last_bar"]) == (5, 16)
    assert found["local-c_0"]["composition_agrees"] is False
    assert found["local-d_0"]["reason"]
    assert found["local-d_0"]["measured"] is not None
    for line in found.values():
        for name in ("beats_path", "details_path"):
            assert not line[name] or (folder / "dataset" / line[name]).is_file()
    assert "Tags contradicted: 1" in said


COMPLETE = "is_complete_piece AND score_match > 0.9"


def test_a_new_version_has_the_columns_for_sql_query_and_programs(folder, first_run):
    dataset = Dataset(folder / "dataset")
    assert dataset.version == 2
    rows = {row["segment_id"]: row for row in dataset.rows()}
    assert [row["segment_id"] for row in dataset.rows(COMPLETE)] == ["local-a_0", "local-c_0"]
    assert rows["local-a_0"]["num_bars"] == 24
    assert rows["local-b_0"]["proposed_composition"] == "mozart:k281"
    assert (
        "281" in rows["local-b_0"]["composition_evidence"] or "1.musicxml" in rows["local-b_0"]["composition_evidence"]
    )
    assert rows["local-c_0"]["composition_agrees"] is False
    assert all(rows["local-d_0"][name] is None for name in ALIGNED)
    with open_views(folder / "dataset") as connection:
        found = select(connection, f"SELECT score_id FROM present WHERE {COMPLETE} ORDER BY segment_id").to_pylist()
        joined = select(
            connection, "SELECT measured FROM present JOIN alignments USING (segment_id) WHERE reason <> ''"
        )
    assert [row["score_id"] for row in found] == ["0.musicxml", "2.musicxml"]
    assert joined.num_rows == 1


def test_a_version_from_before_stays_as_it_was(folder, first_run):
    assert not list(Dataset(folder / "dataset", 1).rows("score_id IS NOT NULL"))
    assert first_run[2].rstrip().endswith("Version 2 has them.")


def test_what_is_known_already_makes_no_version(folder, first_run):
    run(folder / "dataset", "--scores", folder / "scores")
    assert Manifest(folder / "dataset").version() == 2


def test_programs_get_the_beats_and_bars_of_a_segment(folder, first_run):
    dataset = Dataset(folder / "dataset")
    lines = dataset.beats("local-a_0").decode().splitlines()
    times = [float(line.split("\t")[0]) for line in lines]
    assert times == sorted(times)
    assert sum(line.split("\t")[2].startswith("db") for line in lines) == 24
    assert lines[0].count("\t") == 2
    notes = dataset.alignment("local-a_0")
    assert notes.filter(pc.equal(notes["kind"], "beat")).num_rows == len(lines)
    assert dataset.beats("local-d_0") is None
    assert dataset.alignment("local-d_0") is None
    with pytest.raises(DatasetNotFound, match="no segment 'local-z_0'"):
        dataset.beats("local-z_0")


def test_a_file_of_beats_opens_as_those_of_asap_do(folder, first_run):
    """In pandas as ASAP's own code reads it, in mir_eval, and as labels of Audacity: start, end, text."""
    path = next((folder / "dataset" / "alignments").rglob("local-a_0*.tsv"))
    table = pd.read_csv(path, header=None, names=["time", "time2", "type"], sep="\t")
    starts, ends, labels = mir_eval.io.load_delimited(str(path), [float, float, str], delimiter="\t")
    assert list(table["time"]) == list(table["time2"]) == starts == ends
    assert list(table["type"]) == labels
    assert labels[0].startswith(("db,", "b,"))  # time signature and key signature
    assert {label.split(",")[0] for label in labels} == {"b", "db"}
    mir_eval.beat.validate(np.array(starts), np.array(starts))


def test_the_browser_says_what_the_notes_say_of_the_composition(folder, first_run):
    with Visitor(folder / "dataset") as visitor:
        proposed, contradicted, agreed = (visitor.get(f"/segment?id=local-{each}_0").text for each in "bca")
    assert "By its notes it is mozart:k281" in proposed
    assert "The notes contradict the composition: they are of mozart:k282" in contradicted
    assert "contradict" not in agreed
    assert "By its notes" not in agreed


def test_a_file_of_beats_that_is_away_is_a_line_that_says_what_to_do(folder, first_run, tmp_path):
    shutil.copytree(folder / "dataset", tmp_path / "dataset")
    next((tmp_path / "dataset" / "alignments").rglob("local-a_0*.tsv")).unlink()
    with pytest.raises(DatasetCorrupt, match="Run `aria-data align` again"):
        Dataset(tmp_path / "dataset").beats("local-a_0")
    run(tmp_path / "dataset", "--scores", folder / "scores")
    assert Dataset(tmp_path / "dataset").beats("local-a_0")


def test_a_removal_takes_files_and_rows_of_the_alignment_away_at_once(folder, first_run, tmp_path):
    root = tmp_path / "dataset"
    shutil.copytree(folder / "dataset", root)
    assert len(list((root / "alignments").rglob("local-a_0*"))) == 2
    remove_items(root, ["local-a_0"], "asked to")
    assert not list((root / "alignments").rglob("local-a_0*"))
    assert len(list((root / "alignments").rglob("local-b_0*"))) == 2
    table = RecordTable(root, "alignments", SegmentAlignment)
    assert [record.segment_id for record in table.read()] == ["local-b_0", "local-c_0", "local-d_0"]
    stone = next(row for row in Manifest(root).rows() if row["segment_id"] == "local-a_0")
    assert all(stone[name] is None for name in ALIGNED)
    run(root, "--scores", folder / "scores")
    assert not list((root / "alignments").rglob("local-a_0*"))


def test_the_dataset_is_free_while_notes_are_aligned_and_results_wait_for_who_works_there(folder, tmp_path):
    root = tmp_path / "dataset"
    shutil.copytree(folder / "dataset", root)
    shutil.rmtree(root / "tables" / "align", ignore_errors=True)
    scores = [score for _, score in read_scores(folder / "scores") if isinstance(score, Score)]
    waited, seen = [], []
    with ExitStack() as other:

        def look(record):
            seen.append(record.segment_id)
            if len(seen) == 1:
                other.enter_context(exclusive_lock(root / ".lock"))  # as a build that begins meanwhile

        def wait(message):
            waited.append(message)
            other.close()  # the build ends

        summary = align_dataset(
            root, ScoreIndex(scores), AlignConfig(), Silent(), num_processes=1, on_result=look, on_wait=wait
        )
    assert sorted(seen) == ["local-a_0", "local-b_0", "local-c_0", "local-d_0"]
    assert len(waited) == 1
    assert "waits" in waited[0]
    assert summary.num_aligned == 3
    assert Dataset(root).beats("local-a_0")


def test_finished_work_is_not_done_again_and_files_of_nothing_are_cleared(folder, first_run):
    stray = folder / "dataset" / "alignments" / "stray.tsv"
    stray.write_text("x")
    code, lines, said = run(folder / "dataset", "--scores", folder / "scores")
    assert code == 0
    assert "4 were done before" in said
    assert sorted(line["segment_id"] for line in lines) == ["local-a_0", "local-b_0", "local-c_0", "local-d_0"]
    assert not stray.exists()
    beats = next((folder / "dataset" / "alignments").rglob("local-a_0*.tsv"))
    beats.unlink()
    assert "3 were done before" in run(folder / "dataset", "--scores", folder / "scores")[2]
    assert beats.is_file()


def test_a_condition_chooses_segments_and_the_others_keep_their_rows(folder, first_run):
    code, lines, _ = run(folder / "dataset", "--scores", folder / "scores", "--where", "segment_id = 'local-a_0'")
    assert (code, [line["segment_id"] for line in lines]) == (0, ["local-a_0"])
    with open_views(folder / "dataset") as connection:
        assert select(connection, "SELECT count(*) AS n FROM alignments").to_pylist() == [{"n": 4}]


def test_a_dataset_in_an_object_store_is_aligned_as_one_in_a_folder(folder, first_run, bucket):
    root = open_root(bucket)
    for path in sorted((folder / "dataset").rglob("*")):
        is_aligned = path.relative_to(folder / "dataset").parts[0] in ("alignments", "index", "tables")
        if path.is_file() and not is_aligned and path.name != ".lock":
            (root / path.relative_to(folder / "dataset").as_posix()).write_bytes(path.read_bytes())
    code, lines, said = run(bucket, "--scores", folder / "scores")
    assert code == 0, said
    assert sorted(line["segment_id"] for line in lines if not line["reason"]) == ["local-a_0", "local-b_0", "local-c_0"]
    assert Dataset(bucket).beats("local-a_0") == Dataset(folder / "dataset").beats("local-a_0")
    assert "4 were done before" in run(bucket, "--scores", folder / "scores")[2]
    remove_items(root, ["local-a_0"], "asked to")
    left = sorted(path.name.split(".")[0] for path in (root / "alignments").rglob("*") if path.is_file())
    assert left == ["local-b_0"] * 2 + ["local-c_0"] * 2


def test_midi_files_get_two_files_each_and_a_broken_one_is_a_line(folder, tmp_path):
    (tmp_path / "midi").mkdir()
    played = perform(made_score(3, title="Piano Sonata in C major, K. 283"))
    (tmp_path / "midi" / "Mozart K. 283.mid").write_bytes(midi_bytes(Performance(played.notes)))
    (tmp_path / "midi" / "broken.mid").write_bytes(b"MThd")
    code, lines, said = run(tmp_path / "midi", "--scores", folder / "scores", "--out", tmp_path / "out")
    assert code == 1
    assert [line["score_id"] for line in lines] == ["3.musicxml"]
    assert lines[0]["composition_agrees"] is True
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Mozart K. 283.parquet", "Mozart K. 283.tsv"]
    assert "broken.mid" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.mid", "--scores", "."], "is not there"),
        ([".", "--scores", "no_folder"], "is no folder"),
        ([".", "--scores", ".", "--where", "true"], "is for a dataset"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mid").write_bytes(b"MThd")
    code, _, said = run(*words)
    assert code != 0
    assert message in said
