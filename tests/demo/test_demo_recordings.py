"""The demo's scores are the music they claim to be, are played as a pianist might, and become the files they should."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from aria_data.audio import AudioReader, inspect
from aria_data.errors import AudioUnreadable
from aria_data.midi import SOFT, SUSTAIN
from flows.demo import recordings
from flows.demo.performance import Playing, perform
from flows.demo.scores import DYNAMICS, SCORES_FOLDER, ScoreInvalid, load_scores, parse_score
from flows.demo.sounds import FORMATS, SAMPLE_RATE, applause, encode, in_a_room, talk

SCORES = load_scores()
HEADER = (
    "title: T\ncomposer: C\ndates: 1-2\nkey: C major\nstyle: classical\npublic_domain: yes\nmeter: 2/4\ntempo: 60\n"
)

# What anybody can count in a printed score: bars (repeats played out), quarter beats, and how the piece begins.
KNOWN = {
    "bach_prelude_c_major": (
        35,
        140,
        [60, 64, 67, 72, 76, 67, 72, 76, 60, 64, 67, 72, 76, 67, 72, 76, 60, 62, 69, 74, 77],
    ),
    "petzold_minuet_g_major": (48, 144, [55, 59, 62, 74, 67, 69, 57, 71, 72, 59, 74, 67, 67]),
    "beethoven_fur_elise": (46, Fraction(133, 2), [76, 75, 76, 75, 76, 71, 74, 72, 45, 69, 52, 57, 60, 64, 69]),
    "satie_gymnopedie_1": (17, 51, [43, 59, 62, 66, 38, 57, 61, 66]),
    "joplin_entertainer": (36, 72, [74, 86, 76, 88, 72, 84, 69, 81, 71, 83, 67, 79]),
    "pachelbel_canon_d_major": (15, 60, [38, 50, 45, 57, 47, 59, 42, 54, 43, 55, 38, 50, 43, 55, 45, 57]),
}


def small_score(music: str, header: str = "form: A\n"):
    return parse_score(HEADER + header + "== A\n" + music, "small.score")


def pitches_in_order(score) -> list[int]:
    return [note.pitch for note in sorted(score.notes, key=lambda note: (note.onset_beats, note.pitch))]


def test_every_score_of_the_folder_is_known_here():
    assert set(SCORES) == set(KNOWN) == {path.stem for path in SCORES_FOLDER.glob("*.score")}
    assert {score.style for score in SCORES.values()} == {"classical", "ragtime"}


@pytest.mark.parametrize("name", KNOWN)
def test_a_score_has_the_bars_and_the_beginning_of_its_print(name):
    num_bars, beats, beginning = KNOWN[name]
    score = SCORES[name]
    # the first bar of Für Elise is the upbeat, and each repeat splits a bar in two
    assert (len(score.bars) - 1, score.end_beats) == (num_bars, beats)
    assert pitches_in_order(score)[: len(beginning)] == beginning
    assert max(note.onset_beats + note.duration_beats for note in score.notes) <= score.end_beats


@pytest.mark.parametrize("name", KNOWN)
def test_the_composer_of_every_score_died_more_than_a_hundred_years_ago(name):
    died = int(SCORES[name].dates.split("-")[1])
    assert died <= 1925


def test_the_prelude_has_sixteen_notes_in_its_first_32_bars_and_ends_on_c():
    score = SCORES["bach_prelude_c_major"]
    per_bar = [
        sum(start <= note.onset_beats < end for note in score.notes)
        for start, end in zip(score.bars, score.bars[1:], strict=False)
    ]
    assert per_bar == [16] * 34 + [5]
    assert sorted(note.pitch for note in score.notes if note.onset_beats == 136) == [36, 48, 64, 67, 72]


def test_the_canon_s_second_voice_repeats_the_first_two_bars_later():
    score = SCORES["pachelbel_canon_d_major"]
    first, second = (
        {(note.onset_beats, note.duration_beats, note.pitch) for note in score.notes if note.voice == voice}
        for voice in ("first", "second")
    )
    assert len(second) == 8 + 8 + 16 + 16 + 32
    assert {(onset - 8, duration, pitch) for onset, duration, pitch in second} <= first


def test_chords_ties_dots_rests_and_repeated_bars_are_read():
    score = small_score("right: | [C4 Eb4]/4. F#4/8~ | F#4/4 r/8 B3/8' | %\n")
    found = [(n.onset_beats, n.duration_beats, n.pitch, n.is_staccato) for n in score.notes if n.onset_beats < 4]
    assert found == [(0, 1.5, 60, False), (0, 1.5, 63, False), (1.5, 1.5, 66, False), (3.5, 0.5, 59, True)]
    assert [(n.onset_beats, n.pitch) for n in score.notes if n.onset_beats >= 4] == [(4, 66), (5.5, 59)]


def test_a_pattern_plays_its_pitches_and_a_form_repeats_sections_with_pickups():
    music = "a: | <1/4> C4/4\n== B\na: | swing(D4 [E4 G4])\n"
    score = small_score(music, "form: A B A B\npattern swing: $1/4 $2\n")
    assert score.bars == [0, 1, 3, 4, 6]
    assert pitches_in_order(score) == [60, 62, 64, 67] * 2


def test_dynamics_hold_and_a_hairpin_moves_steadily_to_the_next_mark():
    score = small_score("a: | !p C4/4 !< D4 | E4/4 !f F4\n")
    soft, loud = DYNAMICS["p"], DYNAMICS["f"]
    assert [note.dynamic for note in score.notes] == pytest.approx([soft, soft, (soft + loud) / 2, loud])


def test_the_usual_pedal_goes_to_full_bars_and_a_section_s_own_replaces_it():
    music = "a: | <1/4> C4/4 | C4/2\n== B\na: | C4/2\npedal: | r/4 P/4\n"
    assert small_score(music, "form: A B\npedal: P/2\n").pedals == [(1, 3), (4, 5)]


@pytest.mark.parametrize(
    ("music", "line", "words"),
    [
        ("a: | C4/4 D4 | E4/4.\n", 11, "lasts 1.5, but should last 2"),
        ("a: | C4/4 D4\na: | H4/2\n", 12, "'H4' is no pitch"),
        ("a: | C9/2\n", 11, "not on a piano"),
        ("a: | C4 D4\n", 11, "has no duration"),
        ("a: | C4/4 D4/4?\n", 11, "cannot read 'D4/4?'"),
        ("a: | C4/2~ | D4/2\n", 11, "a tie from pitch 60 is open"),
        ("a: | C4/4~ D4 | C4/2\n", 11, "a tie to pitch 60 leads to no note"),
        ("a: | !loud C4/2\n", 11, "no dynamic '!loud'"),
        ("a: | jump(C4)\n", 11, "no pattern 'jump'"),
        ("a: | C4/2 | R\nb: | C4/2\n", 12, "has 1 bars, but another has 2"),
        ("a: | <1/4> C4/4\nb: | C4/2\n", 12, "lasts 2, in another voice 1"),
        ("a | C4/2\n", 11, "has no ':'"),
        ("a: | <1/0> C4/2\n", 11, "no length"),
        ("a: | %\n", 11, "'%' repeats the bar before"),
        ("a: | C4/0\n", 11, "a duration of 0"),
    ],
)
def test_a_broken_score_is_refused_with_its_file_and_line(music, line, words):
    with pytest.raises(ScoreInvalid, match=re.escape(words)) as caught:
        small_score(music)
    assert str(caught.value).startswith(f"small.score:{line}: ")


def test_a_header_that_is_no_number_is_refused():
    with pytest.raises(ScoreInvalid, match="small.score: header `rubato: much` is no number"):
        small_score("a: | C4/2\n", "form: A\nrubato: much\n")


def test_a_score_without_a_needed_header_line_says_which():
    with pytest.raises(ScoreInvalid, match="small.score:1: the header lacks form"):
        small_score("a: | C4/2\n", header="")


@pytest.mark.parametrize("name", KNOWN)
def test_a_performance_is_one_that_two_hands_could_play(name):
    score, playing = SCORES[name], Playing()
    performance = perform(score, seed=3)
    notes = performance.notes
    assert notes == sorted(notes)
    assert performance.pedals == sorted(performance.pedals)
    assert 0.98 * len(score.notes) <= len(notes) <= len(score.notes)
    assert all(20 <= note.velocity <= 110 and note.offset_s > note.onset_s >= 0.3 for note in notes)
    for pitch in {note.pitch for note in notes}:
        same = [note for note in notes if note.pitch == pitch]
        gaps = [after.onset_s - before.offset_s for before, after in zip(same, same[1:], strict=False)]
        assert min(gaps, default=1.0) >= playing.min_gap_s - 1e-9
    for controller in (SUSTAIN, SOFT):
        presses = [pedal for pedal in performance.pedals if pedal.controller == controller]
        assert all(one.offset_s < two.onset_s for one, two in zip(presses, presses[1:], strict=False))
    assert 45 < performance.end_s < 100


def test_a_performance_depends_on_its_seed_and_on_nothing_else():
    score = SCORES["petzold_minuet_g_major"]
    assert perform(score, 1) == perform(score, 1)
    assert perform(score, 1) != perform(score, 2)


def test_the_melody_is_louder_and_chords_are_not_struck_at_once():
    score = small_score("top: | [E5 G5]/4 G5 | G5/2\nlow: | [C3 E3]/2 | [C3 E3]/2\n")
    notes = perform(score, 0, replace(Playing(), velocity_jitter=0.0)).notes
    first = [note for note in notes if note.onset_s < 1.0]
    assert len(first) == 4
    assert max(first, key=lambda note: note.velocity).pitch == 79
    spread_s = max(note.onset_s for note in first) - min(note.onset_s for note in first)
    assert 0.002 < spread_s < 0.06


def test_the_last_bars_slow_down_and_louder_marks_are_played_louder():
    score = small_score("a: | !pp C4/4 C4 | C4/4 C4 | !ff C4/4 C4 | C4/4 C4\n")
    notes = perform(score, 0).notes
    steps = [after.onset_s - before.onset_s for before, after in zip(notes, notes[1:], strict=False)]
    assert steps[-1] > 1.1 * np.mean(steps[:4])
    assert min(note.velocity for note in notes[4:]) > max(note.velocity for note in notes[:4]) + 20


def test_the_pedal_changes_just_after_the_harmony():
    score = small_score("a: | C4/2 | D4/2 | E4/2\n", "form: A\npedal: P/2\ntouch: legato\n")
    performance = perform(score, 0)
    for pedal, before, note in zip(performance.pedals[1:], performance.pedals, performance.notes[1:], strict=False):
        assert -0.02 < before.offset_s - note.onset_s < 0.05
        assert 0.03 < pedal.onset_s - note.onset_s < 0.15


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_each_format_keeps_time_and_tags(tmp_path, suffix):
    rng = np.random.default_rng(0)
    burst_s = 1.25
    waveform = np.zeros((3 * SAMPLE_RATE, 2), np.float32)
    burst = rng.normal(0, 0.2, (2000, 2)) * np.exp(-np.arange(2000) / 400)[:, None]
    waveform[round(burst_s * SAMPLE_RATE) :][:2000] = burst
    path = tmp_path / f"burst{suffix}"
    content = encode(waveform, suffix, {"title": "Für Elise", "artist": "A"})
    path.write_bytes(content)
    assert content == encode(waveform, suffix, {"title": "Für Elise", "artist": "A"})
    facts = inspect(path)
    assert facts.info.tags["title"] == "Für Elise"
    assert facts.num_faults == 0
    assert facts.duration_s == pytest.approx(3.0, abs=0.06)
    with AudioReader(path, SAMPLE_RATE, 2) as reader:
        decoded = np.concatenate(list(reader.blocks()))[:, 0]
    shared = min(len(decoded), len(waveform))
    size = 2 * shared
    correlation = np.fft.irfft(
        np.fft.rfft(decoded[:shared], size) * np.conj(np.fft.rfft(waveform[:shared, 0], size)), size
    )
    lag = int(np.argmax(correlation))
    lag = lag - size if lag > size // 2 else lag
    assert abs(lag) / SAMPLE_RATE < 0.005


def test_talk_is_broken_by_pauses_and_applause_is_not():
    rng = np.random.default_rng(0)
    levels = {}
    for name, sound in (("talk", talk(6.0, rng)), ("applause", applause(6.0, rng))):
        assert sound.shape == (6 * SAMPLE_RATE, 2)
        assert np.abs(sound).max() > 0.1
        frames = sound[SAMPLE_RATE : 4 * SAMPLE_RATE, 0].reshape(-1, SAMPLE_RATE // 20)
        levels[name] = np.sqrt((frames**2).mean(axis=1))
    assert levels["talk"].min() < 0.05 * np.median(levels["talk"])
    assert levels["applause"].min() > 0.3 * np.median(levels["applause"])


def test_a_room_brings_sound_to_its_level_and_does_not_move_it():
    click = np.zeros((SAMPLE_RATE, 2), np.float32)
    click[1000] = 1.0
    sound = in_a_room(click, np.random.default_rng(0))
    assert int(np.abs(sound[:, 0]).argmax()) == 1000
    assert np.abs(sound).max() < 1.0
    after = np.sqrt((sound[2000:8000] ** 2).mean()) / np.sqrt((sound[-6000:] ** 2).mean())
    assert after > 3  # there is a tail, and it dies away


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    """The whole demo, made of the first seconds of each score: the same files, sooner."""

    def opening(score):
        end = score.bars[4]
        pedals = [pedal for pedal in score.pedals if pedal[1] <= end]
        return replace(
            score, notes=[note for note in score.notes if note.onset_beats < end], pedals=pedals, bars=score.bars[:5]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "load_scores", lambda: {name: opening(score) for name, score in SCORES.items()})
        return recordings.make_recordings(tmp_path_factory.mktemp("demo"))


def test_the_demo_has_every_kind_of_file_and_nothing_half_written(small_demo):
    assert sorted(recording.expected for recording in small_demo) == sorted(
        ["kept"] * 5 + ["partly", "duplicate"] + ["rejected"] * 2 + ["failure"] * 2
    )
    folder = small_demo[0].path.parent
    sidecar = folder / "recital-village-hall.info.json"
    assert {path.name for path in folder.iterdir()} == {recording.path.name for recording in small_demo} | {
        sidecar.name
    }
    info = json.loads(sidecar.read_text(encoding="utf-8"))
    assert {"title", "description", "uploader", "duration", "license", "webpage_url"} <= set(info)
    assert "Für Elise" in info["description"]


def test_only_the_broken_files_of_the_demo_cannot_be_read_and_the_copy_is_one(small_demo):
    hashes = {}
    for recording in small_demo:
        if recording.expected == "failure":
            with pytest.raises(AudioUnreadable):
                inspect(recording.path)
            continue
        facts = inspect(recording.path)
        hashes.setdefault(facts.samples_sha256, set()).add(recording.kind)
        if recording.kind == "silence":
            assert facts.peak_db == -120
            assert facts.duration_s == 60
        else:
            assert -26 < facts.loudness_db < -18
            assert facts.peak_db < 0
    assert [kinds for kinds in hashes.values() if len(kinds) > 1] == [{"solo piano", "copy"}]


def test_the_truth_of_the_programme_is_where_the_piano_sounds(small_demo):
    recital = next(recording for recording in small_demo if recording.kind == "programme")
    assert recital.piano_start_s == 19.0
    alone = perform(SCORES["beethoven_fur_elise"], 0)
    assert recital.truth.notes[0].onset_s - alone.notes[0].onset_s == pytest.approx(19.0, abs=0.1)
    with AudioReader(recital.path, SAMPLE_RATE, 1) as reader:
        decoded = np.concatenate(list(reader.blocks()))[:, 0]
    strike = round(recital.truth.notes[0].onset_s * SAMPLE_RATE)
    before, after = (np.abs(decoded[strike + shift : strike + shift + 2000]).mean() for shift in (-4000, 2000))
    assert after > 3 * before
