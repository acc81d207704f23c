"""Where a score is known, two transcribers are compared bar by bar; the browser jumps to where they agree least."""

from __future__ import annotations

import json
import re

import pytest
from browsing import TOKEN, Visitor, Watched, chromium
from click.testing import CliRunner
from datasets_made import row_with_midi
from fakes import SHORT_SEGMENTS, FakeTranscriber, melody, write_audio
from scores_made import made_score, musicxml, perform

pytest.importorskip("parangonar", reason="`aria-data align` needs the extra `align`, which is not installed")

from aria_data.manifest import Dataset, Manifest
from aria_data.midi import Performance, midi_bytes
from aria_data.midi.midi_files import performance_of
from aria_data.release.alignments import COLUMNS as ALIGNED
from flows.cli.command import cli
from flows.engine.context import BuildContext

OF_TWO = ("disagreements", "lowest_agreement", "lowest_agreement_start_s")


def align(root, scores) -> str:
    done = CliRunner().invoke(cli, ["align", str(root), "--scores", str(scores), "--processes", "1"])
    assert done.exit_code == 0, done.output
    return done.output + done.stderr


def change(root, disagreements: str | None) -> None:
    Manifest(root).commit([row | {"disagreements": disagreements} for row in Manifest(root).rows()])


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """One segment with its score, and where its bars begin."""
    root = tmp_path_factory.mktemp("bars")
    score = made_score(3)
    (root / "scores").mkdir()
    (root / "scores" / "a.musicxml").write_text(musicxml(score))
    content = midi_bytes(Performance(perform(score).notes))
    row = row_with_midi(root / "dataset", "local-a_0", content, composition_id="", **dict.fromkeys((*ALIGNED, *OF_TWO)))
    Manifest(root / "dataset").commit([row])
    align(root / "dataset", root / "scores")
    beats = Dataset(root / "dataset").beats("local-a_0").decode().splitlines()
    downbeats = [float(line.split("\t")[0]) for line in beats if line.split("\t")[2].startswith("db")]
    return root / "dataset", root / "scores", downbeats, sorted(note.onset_s for note in performance_of(content).notes)


def test_bars_have_their_agreement_without_aligning_again_and_lose_it_with_what_it_was_counted_from(aligned):
    root, scores, downbeats, onsets = aligned
    assert Manifest(root).rows()[0]["agreement_per_bar"] is None  # one transcriber only
    sixth = [onset for onset in onsets if downbeats[5] <= onset < downbeats[6] - 0.05][:2]
    change(root, json.dumps({"only_first": sixth, "only_second": []}))
    assert "1 were done before" in align(root, scores)
    row = Manifest(root).rows()[0]
    per_bar = json.loads(row["agreement_per_bar"])
    assert len(per_bar) == row["num_bars"] == len(downbeats)
    assert [place for place, value in enumerate(per_bar) if value != 1.0] == [5]
    assert row["lowest_agreement_bar"] == 6
    change(root, json.dumps({"only_first": [], "only_second": [downbeats[2] + 0.1]}))
    align(root, scores)
    assert [
        place for place, value in enumerate(json.loads(Manifest(root).rows()[0]["agreement_per_bar"])) if value < 1
    ] == [2]
    change(root, None)
    align(root, scores)
    assert Manifest(root).rows()[0]["agreement_per_bar"] is None


def test_the_browser_has_places_that_jump_to_the_lowest_agreement(aligned):
    root, scores, downbeats, onsets = aligned
    with Visitor(root) as visitor:
        assert 'class="jump"' not in visitor.get("/segment?id=local-a_0").text
    ninth = [onset for onset in onsets if downbeats[8] <= onset < downbeats[9] - 0.05][:1]
    change(root, json.dumps({"only_first": ninth, "only_second": []}))
    align(root, scores)
    lowest = {"lowest_agreement": 0.5, "lowest_agreement_start_s": 15.0}
    Manifest(root).commit([row | lowest for row in Manifest(root).rows()])
    with Visitor(root) as visitor:
        page = visitor.get("/segment?id=local-a_0").text
    jumps = [float(seconds) for seconds in re.findall(r'class="jump"[^>]* data-seconds="([0-9.]+)"', page)]
    assert jumps == pytest.approx([15.0, downbeats[8]], abs=1e-3)
    assert "in bar 9" in page


def test_a_key_moves_the_clock_to_the_lowest_agreement(aligned):
    root, _, _, _ = aligned
    lowest = {"lowest_agreement": 0.5, "lowest_agreement_start_s": 15.0}
    lowest |= {"start_s": 0.0, "end_s": 60.0, "duration_s": 60.0}
    Manifest(root).commit([row | lowest for row in Manifest(root).rows()])
    with Visitor(root) as visitor, chromium() as browser:
        watched = Watched(browser, base_url=visitor.origin)
        watched.page.goto(f"/?token={TOKEN}")
        watched.page.goto("/segment?id=local-a_0")
        watched.until("document.querySelector('#clock').textContent === '0.0 s'")
        watched.page.keyboard.press("l")
        watched.until("document.querySelector('#clock').textContent === '15.0 s'")
        assert not watched.faults()


class Deaf(FakeTranscriber):
    """Hears nothing of what lies above middle C."""

    def _notes(self, window):
        return [note for note in super()._notes(window) if note.pitch < 60]


def test_a_build_with_scores_and_two_transcribers_has_it_and_another_second_one_takes_it_away(
    build, tmp_path, monkeypatch
):
    from test_build_with_scores import SECONDS, SEED, score_of_melody

    write_audio(tmp_path / "in" / "take.wav", melody(SECONDS, SEED))
    score_of_melody(tmp_path / "scores")
    monkeypatch.setattr(BuildContext, "second_transcriber", Deaf())
    monkeypatch.setattr(BuildContext, "second_sha256", "d" * 64)
    settings = (*SHORT_SEGMENTS, f"release.scores={json.dumps(str(tmp_path / 'scores'))}")
    build(tmp_path / "in", tmp_path / "out", settings=settings)
    row = Manifest(tmp_path / "out").rows()[0]
    assert len(json.loads(row["agreement_per_bar"])) == row["num_bars"]
    assert min(value for value in json.loads(row["agreement_per_bar"]) if value is not None) < 1
    monkeypatch.setattr(BuildContext, "second_transcriber", FakeTranscriber())
    monkeypatch.setattr(BuildContext, "second_sha256", "e" * 64)
    build(tmp_path / "in", tmp_path / "out", settings=(*SHORT_SEGMENTS, "release.scores="))
    row = Manifest(tmp_path / "out").rows()[0]
    assert (row["agreement_per_bar"], row["score_id"] is None) == (None, False)
