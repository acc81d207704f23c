"""`aria-data annotate` and `aria-data evaluate annotate`: lists in, tags out, figures per field, money."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from answers import TITLES, tag
from click.testing import CliRunner
from llm_server import LlmServer

from aria_data.errors import UsageError
from aria_data.llm.prices import to_picodollars
from aria_data.records import Annotation
from flows.cli.annotate import annotate_command, evaluate_annotate_command

PRICES = ("--input-price", "1", "--output-price", "4")
LABELLED = [
    ("Chopin: Nocturne, Op. 9 No. 2", "Frederic Chopin", "opus", "9", "2", "", "1"),
    ("Nocturne No. 2 in E-Flat Major, Op. 9, No. 2", "Chopin, F.", "op", "9", "2", "Es-Dur", "1"),
    ("Beethoven: Sonata op. 13: III. Rondo", "Beethoven", "op", "13", "", "", "2"),
    ("An untitled tune", "Erik Satie", "", "", "", "", "3"),
]


@pytest.fixture
def server(monkeypatch, tmp_path):
    with LlmServer(tag).running() as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield running


@pytest.fixture
def titles(tmp_path) -> Path:
    return write_csv(tmp_path / "titles.csv", [("title", "description", "uploader"), *((t, "", "") for t in TITLES)])


@pytest.fixture
def labels(tmp_path) -> Path:
    names = ("title", "composer", "catalogue", "catalogue_number", "piece_number", "key", "composition_id")
    return write_csv(tmp_path / "labels.csv", [names, *LABELLED])


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def run(command, *arguments: object):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_list_is_annotated_in_its_order_with_every_field(tmp_path, titles):
    out = tmp_path / "out" / "tags.jsonl"
    result = run(annotate_command, "--input", titles, "--output", out)
    assert (result.exit_code, "6 of 6 titles read by rules" in result.stderr) == (0, True)
    rows = rows_of(out)
    assert [row["input_title"] for row in rows] == TITLES
    fields = {field.name for field in dataclasses.fields(Annotation)}
    assert all(fields <= set(row) and isinstance(row["evidence"], dict) for row in rows)
    assert (rows[0]["composer_id"], rows[0]["composition_id"]) == ("beethoven", "beethoven:op27-2:3")
    assert rows[0]["evidence"]["catalogue_number"] == "Op. 27 No. 2"
    assert (rows[1]["performer"], rows[1]["performer_id"]) == ("Martha Argerich", "argerich_martha")
    assert (rows[5]["composer"], rows[5]["composition_id"]) == ("", "")


def test_description_and_uploader_are_read_and_other_columns_kept(tmp_path):
    source = tmp_path / "a.jsonl"
    row = {"id": 7, "title": "Nocturne", "description": "Composer: John Field", "uploader": "Dino Ciani"}
    source.write_text(json.dumps(row) + "\n", encoding="utf-8")
    run(annotate_command, "--input", source, "--output", tmp_path / "o.jsonl")
    (found,) = rows_of(tmp_path / "o.jsonl")
    assert (found["id"], found["composer_id"], found["performer_id"]) == (7, "field", "ciani_dino")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name\nx\n", "has no 'title'"),
        (b"title\n", "no row"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_gets_one_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        run(annotate_command, "--input", path, "--output", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_the_input_is_never_overwritten(titles):
    before = titles.read_bytes()
    with pytest.raises(UsageError, match="is the input"):
        run(annotate_command, "--input", titles, "--output", titles)
    assert titles.read_bytes() == before


def test_without_an_output_the_line_says_so(titles):
    with pytest.raises(UsageError, match="--output"):
        run(annotate_command, "--input", titles)


def test_a_model_reads_the_same_list_and_a_second_run_costs_nothing(tmp_path, server, titles):
    out = tmp_path / "tags.jsonl"
    arguments = ("--input", titles, "--output", out, "--annotator", "llm", *PRICES)
    assert run(annotate_command, *arguments).exit_code == 0
    num_requests, before = len(server.bodies), out.read_bytes()
    assert rows_of(out)[0]["annotation_source"] == "test-model"
    assert "$0.0000 spent" in run(annotate_command, *arguments).stderr
    assert (len(server.bodies), out.read_bytes()) == (num_requests, before)


def test_a_budget_ends_the_run_with_what_there_is(tmp_path, server):
    rows = [("title",), *((f"Chopin: Mazurka, Op. {number}",) for number in range(1, 61))]
    source = write_csv(tmp_path / "many.csv", rows)
    out = tmp_path / "tags.jsonl"
    arguments = ("--input", source, "--output", out, "--annotator", "llm", *PRICES)
    result = run(annotate_command, *arguments, "--max-dollars", "0.05")
    assert result.exit_code == 1
    assert "budget" in result.stderr
    errors = [row.get("error", "") for row in rows_of(out)]
    assert 0 < sum(map(bool, errors)) < len(errors) == 60
    assert server.true_cost <= to_picodollars(0.05)


def test_a_forecast_asks_nothing(server, titles):
    result = run(annotate_command, "--input", titles, "--annotator", "llm", *PRICES, "--forecast")
    assert (result.exit_code, "6 titles, " in result.output, server.bodies) == (0, True, [])
    assert "no cost" in run(annotate_command, "--input", titles, "--forecast").output


def test_fields_and_clusters_are_measured_against_labels_however_they_are_spelt(labels):
    found = json.loads(run(evaluate_annotate_command, "--labels", labels, "--json").stdout)
    assert (found["annotator"], found["num_rows"], found["num_failed"]) == ("rules", 4, 0)
    fields = found["fields"]
    assert set(fields) == {"composer", "catalogue", "catalogue_number", "piece_number", "key"}
    assert (fields["composer"]["accuracy"], fields["composer"]["precision"]) == (0.75, 1.0)
    assert (fields["catalogue"]["num_labelled"], fields["catalogue"]["accuracy"]) == (3, 1.0)
    assert (fields["key"]["num_labelled"], fields["key"]["accuracy"]) == (1, 1.0)
    clusters = found["composition_id"]
    assert (clusters["precision"], clusters["recall"], clusters["num_filled"]) == (1.0, 1.0, 3)
    table = run(evaluate_annotate_command, "--labels", labels).stdout
    assert "coverage" in table
    assert "pairwise precision 1.0000, recall 1.0000" in table


def test_a_model_is_measured_the_same_way(server, labels):
    by_model = json.loads(run(evaluate_annotate_command, "--labels", labels, "--annotator", "llm", "--json").stdout)
    by_rules = json.loads(run(evaluate_annotate_command, "--labels", labels, "--json").stdout)
    assert by_model["annotator"] == "test-model"
    assert by_model["fields"] == by_rules["fields"]


def test_what_could_not_be_read_counts_as_empty(server, labels):
    server.poison = lambda items: "refusal"
    result = run(evaluate_annotate_command, "--labels", labels, "--annotator", "llm", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["num_failed"], found["fields"]["composer"]["coverage"]) == (4, 0.0)


def test_labels_without_a_column_of_labels_are_named(tmp_path):
    with pytest.raises(UsageError, match="no column with labels"):
        run(evaluate_annotate_command, "--labels", write_csv(tmp_path / "l.csv", [("title",), ("x",)]))


def test_settings_of_the_model_and_of_annotate_can_be_set_and_no_others(titles, tmp_path, server):
    arguments = ("--input", titles, "--output", tmp_path / "o.jsonl", "--annotator", "llm", *PRICES)
    assert run(annotate_command, *arguments, "--set", "llm.items_per_request=1").exit_code == 0
    assert len(server.bodies) == len(TITLES)  # a request each
    assert run(annotate_command, *arguments, "--set", "annotate.max_title_chars=20").exit_code == 0
    assert max(len(item["title"]) for item in server.items_asked()[len(TITLES) :]) <= 20
    with pytest.raises(UsageError, match=r"screen\.max_title_chars=20: here only settings of llm and annotate"):
        run(annotate_command, *arguments, "--set", "screen.max_title_chars=20")
