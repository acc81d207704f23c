"""Figures of window scores on labelled spans."""

import json
import math

import numpy as np
import pytest

from classifiers import evaluate, synthesize
from classifiers.evaluate import ClipResult, Labelled
from classifiers.predict import WindowScores


def said(values: list[float], cause: str = "piano") -> WindowScores:
    scores = np.array(values, np.float32)
    causes = np.zeros((len(values), len(synthesize.CAUSES)), np.float32)
    causes[:, synthesize.CAUSES.index(cause)] = 1.0
    local = np.repeat(scores, 4)
    return WindowScores(scores, scores, causes, synthesize.CAUSES, local, 1.0, 0.25, float(len(values)))


RESULTS = [
    ClipResult("a", "piano", 0.9, 0.9, "piano", (0.9, 0.9)),
    ClipResult("b", "piano", 0.4, 0.9, "speech", (0.4, 0.4)),
    ClipResult("c", "speech", 0.2, 0.1, "speech", (0.2,)),
    ClipResult("d", "piano_plus_other", 0.6, 0.8, "piano", (0.6,)),
]


def test_a_span_is_judged_by_the_windows_whose_middle_it_holds():
    scored = said([0.1, 0.9, 0.8, 0.2])
    assert evaluate.clip_result(Labelled("a", "piano", 1.0, 3.0), scored).mean_score == pytest.approx(0.85)
    assert evaluate.clip_result(Labelled("a", "piano"), scored).mean_score == pytest.approx(0.5)
    assert evaluate.clip_result(Labelled("a", "piano"), said([])).main_cause == "silence"


def test_clips_are_counted_by_label():
    figures = {row.label: (row.num_clips, row.num_right) for row in evaluate.figures_by_label(RESULTS, 0.5)}
    assert figures == {"piano": (2, 1), "speech": (1, 1), "piano_plus_other": (1, 0)}


def test_precision_recall_and_removed_by_threshold():
    at = {row.threshold: row for row in evaluate.figures_by_threshold(RESULTS)}
    assert (at[0.5].precision, at[0.5].recall, at[0.5].removed) == (0.5, 0.5, 0.5)
    assert (at[0.3].precision, at[0.3].recall, at[0.3].removed) == (pytest.approx(2 / 3), 1.0, 0.5)
    assert (at[0.7].precision, at[0.7].recall, at[0.7].removed) == (1.0, 0.5, 1.0)
    assert math.isnan(evaluate.figures_by_threshold(RESULTS[2:3])[-1].precision)


def test_areas_under_the_curve():
    assert evaluate.area_under_curve(RESULTS) == 0.75  # 0.9 above both, 0.4 above one of two
    assert evaluate.any_piano_auc(RESULTS) == 1.0
    assert math.isnan(evaluate.area_under_curve(RESULTS[:2]))


def test_calibrated_scores_have_no_calibration_error_and_overconfident_ones_have():
    honest = [ClipResult("a", "piano", 0, 0, "", (0.75,) * 75), ClipResult("b", "noise", 0, 0, "", (0.75,) * 25)]
    assert evaluate.calibration(honest).ece == pytest.approx(0.0)
    boastful = [ClipResult("b", "noise", 0, 0, "", (0.95,) * 10)]
    assert evaluate.calibration(boastful).ece == pytest.approx(0.95)
    assert [one.num_windows for one in evaluate.calibration(honest).bins] == [0] * 7 + [100] + [0] * 2


def test_causes_are_counted_by_label():
    assert evaluate.confusion(RESULTS)["piano"] == {"piano": 1, "speech": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,kind\na,b\n", "missing: file, label"),
        ("file,label,start_s,end_s\na,piano,x,2\n", "csv:2: start_s and end_s are seconds"),
        ("file,label\n,piano\n", "csv:2: has no file or no label"),
    ],
)
def test_a_wrong_labels_file_is_refused(tmp_path, text, reason):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        evaluate.read_rows(tmp_path / "labels.csv")


def test_times_may_be_named_either_way_and_a_lone_start_is_where_a_clip_was_cut_from(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("file,label,start,end\na,piano,1.5,9\nb,piano,40,\n")
    assert evaluate.read_rows(path) == [Labelled("a", "piano", 1.5, 9.0), Labelled("b", "piano", 0.0, None)]


def test_the_command_prints_a_result_a_span(tmp_path, capsys):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(48000), 16000)
    (tmp_path / "labels.csv").write_text("file,label\na.wav,silence\n")
    assert evaluate.main(["--labels", str(tmp_path / "labels.csv"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["label"] == "silence"
    assert evaluate.main(["--labels", str(tmp_path / "labels.csv")]) == 0
    assert "AUC" in capsys.readouterr().out


def test_a_labelled_span_is_judged_by_its_own_windows_alone():
    from classifiers.evaluate import Labelled, span_of
    from classifiers.predict import WindowScores

    scores = np.array([0.1] * 10 + [0.9] * 20, np.float32)
    causes = np.tile(np.array([[0.5, 0.5]], np.float32), (30, 1))
    whole = WindowScores(scores, scores, causes, ("piano", "noise"), np.repeat(scores, 4), 1.0, 0.25, 30.0)
    cut = span_of(Labelled("a.wav", "piano", 10.0, 20.0, ""), whole)
    assert (len(cut.scores), len(cut.local_scores), cut.duration_s) == (10, 40, 10.0)
    assert float(cut.scores.min()) > 0.8
    assert span_of(Labelled("a.wav", "piano", 0.0, None, ""), whole) is whole
    assert span_of(Labelled("a.wav", "piano", 25.0, 99.0, ""), whole).duration_s == 5.0


@pytest.mark.parametrize("times", ["5,3", "nan,9", "-1,4", "2,inf", "3,3"])
def test_times_that_are_no_span_are_refused_with_their_line(tmp_path, times):
    from classifiers.evaluate import read_rows

    path = tmp_path / "labels.csv"
    path.write_text(f"file,start_s,end_s,label\na.wav,{times},piano\n")
    with pytest.raises(ValueError, match=r"labels.csv:2: start_s"):
        read_rows(path)


def test_a_table_as_spreadsheets_save_it_is_read_and_one_that_is_no_csv_is_named(tmp_path):
    from classifiers.evaluate import read_rows

    path = tmp_path / "labels.csv"
    path.write_bytes("\ufefffile,label\na.wav, Piano \n".encode())
    assert [(row.file, row.label) for row in read_rows(path)] == [("a.wav", "piano")]
    path.write_text("file;label\na.wav;piano\n")
    with pytest.raises(ValueError, match="not semicolons"):
        read_rows(path)
    path.write_bytes(b"file,label\n\xe4.wav,piano\n")
    with pytest.raises(ValueError, match=r"labels.csv: is no CSV in UTF-8"):
        read_rows(path)
