"""The report, SQL over all tables, a segment in a terminal: they show what is there, and hostile text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from datasets_made import make_rows, row_with_midi, song
from fakes import melody, noise, use_fakes, write_audio

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.midi import SUSTAIN, Note, Pedal, Performance
from flows.cli.command import cli
from flows.report import write_report
from flows.report.piano_roll import roll
from flows.report.views import open_views, select

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e{{ 7*7 }}"


class Page(HTMLParser):
    """The parts of a page that a browser would run, fetch or show."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.texts, self.ids = [], [], [], []
        self._open, self.content = "", {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        self.content.get(self._open, self.texts).append(data)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset built from two recordings of music, one of noise and one broken file."""
    from flows.build_dataset import build

    root = tmp_path_factory.mktemp("report")
    for number in range(2):
        write_audio(root / "in" / f"Chopin - Nocturne Op. 9 No. {number + 1} {'&<b>' * number}.wav", melody(8, number))
    write_audio(root / "in" / "noise.wav", noise(8))
    (root / "in" / "broken.mp3").write_bytes(b"no audio")
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        build(root / "in", root / "out", settings=["segment.min_segment_s=5"], with_prefect=False)
    return root / "out"


def report_of(root, tmp_path) -> tuple[str, Page]:
    text = write_report(root, tmp_path / "report.html").read_text()
    return text, Page(text)


def test_the_report_shows_what_became_of_every_candidate(built, tmp_path):
    text, page = report_of(built, tmp_path)
    shown = " ".join(" ".join(page.texts).split())
    assert "found 4" in shown
    assert re.search(r"ingest 3 0 1", shown), shown[:2000]
    assert "no_solo_piano" in shown
    assert "in the manifest 2" in shown
    assert len(text) < 3_000_000


def test_every_figure_names_a_command_that_gives_its_numbers(built, tmp_path):
    _, page = report_of(built, tmp_path)
    commands = [text for text in page.texts if text.startswith("aria-data ")]
    assert len(commands) > 20
    for command in commands:
        name, *arguments = shlex.split(command)[1:]
        given = CliRunner().invoke(cli, [name, *arguments])
        assert given.exit_code == 0, (command, given.output, given.exception)


def test_hostile_text_is_shown_and_never_runs(tmp_path):
    rows = make_rows(tmp_path, 3)
    rows[0] |= {"composer": HOSTILE, "licence": HOSTILE, "form": HOSTILE}
    Manifest(tmp_path / "").commit(rows)
    text, page = report_of(tmp_path, tmp_path)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert any("<script>alert(1)</script>" in shown for shown in page.texts)
    assert "\u202e" not in text
    assert "{{ 7*7 }}" in "".join(page.texts)


def test_the_policy_allows_this_script_and_style_and_nothing_else(built, tmp_path):
    _, page = report_of(built, tmp_path)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; ")
    for kind, (content,) in page.content.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [value for name, value in page.attributes if name == "href" and not value.startswith("#")]


def test_every_picture_has_words_and_every_reference_a_target(built, tmp_path):
    _, page = report_of(built, tmp_path)
    assert len(page.ids) == len(set(page.ids))
    for name, value in page.attributes:
        if name in ("aria-labelledby", "data-copies"):
            assert value in page.ids
        if name == "href":
            assert value[1:] in page.ids
        assert name != "aria-label" or value.strip()


def test_a_report_of_a_later_version_says_what_changed_and_why(tmp_path):
    manifest, rows = Manifest(tmp_path), make_rows(tmp_path, 4)
    manifest.commit(rows)
    manifest.commit([rows[0] | {"composer": "Clara Schumann"}, *rows[1:3], row_with_midi(tmp_path, "web-9_0", song(9))])
    shown = " ".join(" ".join(report_of(tmp_path, tmp_path)[1].texts).split())
    assert "What changed since the version before" in shown
    assert re.search(r"MIDI files 4 4 hours", shown)
    assert re.search(r"columns that changed column rows composer 1 ", shown)
    assert "added a new recording 1" in shown
    assert "changed other tags 1" in shown
    assert "removed no longer found in its recording 1" in shown


def test_of_a_version_that_changed_in_many_rows_the_kinds_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.report.changes.MAX_CHANGED", 1)
    manifest, rows = Manifest(tmp_path), make_rows(tmp_path, 5)
    manifest.commit(rows)
    manifest.commit([*(row | {"composer": "Clara Schumann"} for row in rows[:2]), *rows[3:]])
    shown = " ".join(" ".join(report_of(tmp_path, tmp_path)[1].texts).split())
    assert "rows change rows changed 2 removed 1" in shown


def test_an_empty_version_has_a_report(tmp_path):
    Manifest(tmp_path).commit([])
    text, _ = report_of(tmp_path, tmp_path)
    assert "no file has a value" in text


def test_a_folder_without_a_dataset_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(DatasetNotFound, match="holds no built dataset. Run `aria-data build"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_composition_in_two_splits_is_seen_in_the_leak_check(tmp_path):
    rows = make_rows(tmp_path, 2, composition_id="chopin:op9-1")
    Manifest(tmp_path).commit([rows[0] | {"split": "train"}, rows[1] | {"split": "test"}])
    shown = " ".join(" ".join(report_of(tmp_path, tmp_path)[1].texts).split())
    assert "composition_id 1 1" in shown


@pytest.mark.parametrize(
    "text",
    [
        "COPY present TO 'x.csv'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_csv('/etc/passwd')",
        "ATTACH 'x.db'",
        "SET lock_configuration = false",
        "SELECT * FROM nothing",
        "",
    ],
)
def test_sql_can_only_read_the_tables_of_the_dataset(built, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_views(built) as connection, pytest.raises(UsageError) as error:
        select(connection, text)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_sql_joins_rows_with_candidates_recordings_and_measures(built):
    asked = CliRunner().invoke(
        cli,
        [
            "sql",
            str(built),
            "SELECT title, round(measures['mean_velocity']) AS v, codec FROM present JOIN measures USING (segment_id) "
            "JOIN recordings USING (recording_id) ORDER BY 1",
            "--format",
            "jsonl",
        ],
    )
    rows = [json.loads(line) for line in asked.output.splitlines()]
    assert [row["codec"] for row in rows] == ["pcm_s16le", "pcm_s16le"]
    assert all(0 < row["v"] < 128 for row in rows)


def test_a_piano_roll_has_time_to_the_right_pitch_upwards_and_the_pedal_below():
    lines = roll(Performance([Note(0, 5, 60, 64), Note(5, 10, 72, 64)], [Pedal(2.5, 5, SUSTAIN)]), 46)
    first, *_, last, pedal, axis = lines
    assert first.index("⠤" if "⠤" in first else first.strip()[-1]) > 20
    assert last.startswith("  C4 ")
    assert len(last.rstrip()) <= 26
    assert pedal.strip().startswith("ped")
    assert 12 <= pedal.index("⣀") <= 16
    assert axis.endswith("10.0 s")
    assert max(map(len, lines)) <= 46


def test_a_roll_of_nothing_is_drawn():
    assert roll(Performance())


def test_a_segment_is_shown_with_its_facts_and_as_json_with_its_notes(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 2))
    shown = CliRunner().invoke(cli, ["show", str(tmp_path), "local-0001_0", "--width", "60"])
    assert "composer                 Erik Satie" in shown.output
    assert "⠉" in shown.output or "⣀" in shown.output or "⠤" in shown.output
    found = json.loads(CliRunner().invoke(cli, ["show", str(tmp_path), "local-0001_0", "--json"]).output)
    assert found["segment_id"] == "local-0001_0"
    assert [note["pitch"] for note in found["notes"]] == [41, 42, 43, 44]


def test_a_segment_that_is_not_there_is_named_with_what_to_do(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 1))
    missing = CliRunner().invoke(cli, ["show", str(tmp_path), "web-1_0"])
    assert isinstance(missing.exception, UsageError)
    assert "has no segment web-1_0" in str(missing.exception)


def test_the_report_shows_speed_and_cost_from_perf_json_with_the_query_that_gives_them(built, tmp_path):
    text, page = report_of(built, tmp_path)
    shown = " ".join(" ".join(page.texts).split())
    assert "perf.json" in shown
    assert "speed of each stage" in shown
    assert "FROM build_stages WHERE" in shown
    assert re.search(r"transcribe 2 0\.00\d+ ", shown), shown[-3000:]


def test_sql_can_ask_how_fast_builds_were(built):
    with open_views(built) as connection:
        stages = select(connection, "SELECT * FROM build_stages JOIN builds USING (run_id) WHERE stage = 'ingest'")
        (row,) = stages.to_pylist()
    assert (row["num_items"], row["num_failed"], row["is_finished"], row["command"]) == (4, 1, True, "build")
    assert row["cores"] >= 1


def test_a_dataset_without_perf_json_or_with_a_strange_one_has_a_report(built, tmp_path):
    strange = [{"stage": HOSTILE, "num_items": "many", "workers": 7}, {"rejected": ["x"]}, 5, None, {"audio_s": {}}]
    builds = [{"stages": strange, "machine": {"processor": HOSTILE, "gpus": 3}, "money": [{}], "wall_s": "x"}]
    for content in (
        "",
        '{"format": 1, "builds": [{"stages": [], "machine": {}}]}',
        json.dumps({"format": 1, "builds": builds}),
    ):
        root = tmp_path / f"copy {len(content)}"
        shutil.copytree(built, root)
        (root / "perf.json").write_text(content)
        assert "Speed and cost" in write_report(root, tmp_path / "report.html").read_text()
