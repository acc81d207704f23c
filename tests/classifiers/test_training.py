"""Training the classifier: real recordings beside synthesis, sampled pianos, weights."""

import wave
from dataclasses import replace

import numpy as np
import pytest

from classifiers import dataset, recordings, samples, synthesize, train
from classifiers.features import FeatureConfig
from classifiers.synthesize import CAUSES

RATE = 16000
TEN_S = synthesize.SynthesisConfig(clip_s=10.0, clips_per_session=3)
PIANO, OTHER, BOTH, SPEECH, NOISE, SILENCE = range(len(CAUSES))


def write_wav(path, waveform: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def tone(seconds: float, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


# -- licences and labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "licence", ["CC0", "CC0 (BigSoundBank)", "Public domain (Musopen)", "CC BY 3.0 (ESC-10, freesound)", "CC BY"]
)
def test_what_lets_anyone_use_it_is_open(licence):
    assert recordings.is_open(licence)
    assert recordings.is_open(f"{licence} + CC BY 4.0")


@pytest.mark.parametrize(
    "licence",
    ["", "CC BY-NC 4.0", "CC BY-SA 3.0", "CC BY-ND 4.0", "MIT repo", "CC (freesound 1)", "all rights reserved"],
)
def test_what_does_not_say_so_is_not_open(licence):
    assert not recordings.is_open(licence)
    assert not recordings.is_open(f"CC0 + {licence}") or not licence


def test_only_open_rows_are_trained_on(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label,licence,source\na.wav,piano,CC0,x\nb.wav,piano,CC BY-NC 4.0,y\nc.wav,noise,,\n")
    assert [item.path.name for item in recordings.read_labels(path)] == ["a.wav"]
    assert [item.source for item in recordings.read_labels(path, only_open=False)] == ["x", "y", "c.wav"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,kind\na,b\n", "labels.csv: needs the columns file,label; missing: label"),
        ("file,label\na,flute\n", "labels.csv:2: unknown label 'flute'. Known: piano, "),
        ("file,label,start_s\na,piano,soon\n", "labels.csv:2: start_s and end_s are seconds"),
    ],
)
def test_a_wrong_labels_file_is_one_line_with_the_place(tmp_path, text, said):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        recordings.read_labels(tmp_path / "labels.csv")


# -- stems -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("piano_db", "other_db", "other_s", "is_clean"),
    [
        (-10, -60, 5.0, True),
        (-10, -15, 0.9, True),
        (-10, -15, 1.2, False),
        (-10, -23, 5.0, True),
        (-25, -60, 5.0, False),
    ],
)
def test_stems_are_labelled_by_the_published_levels(piano_db, other_db, other_s, is_clean):
    piano = tone(5.0, level=np.sqrt(2) * 10 ** (piano_db / 20))
    other = np.zeros(5 * RATE, np.float32)
    other[: int(other_s * RATE)] = tone(other_s, 700.0, np.sqrt(2) * 10 ** (other_db / 20))
    assert recordings.label_of_stems(piano, other, RATE) == is_clean


def test_stems_become_clips_of_the_mix_with_the_label_of_the_rule(tmp_path):
    write_wav(tmp_path / "piano.wav", np.concatenate([tone(20.0), tone(20.0)]))
    write_wav(tmp_path / "rest.wav", np.concatenate([np.zeros(20 * RATE), tone(20.0, 700.0)]))
    path = tmp_path / "stems.csv"
    path.write_text("file,label,other_stem,licence\npiano.wav,,rest.wav,CC0\n")
    spans = recordings.read_labels(path)
    clips, sources = recordings.recorded_clips(tmp_path / "cache", spans, FeatureConfig(), 10.0, 0, 1)
    assert sorted(clips.causes.tolist()) == [PIANO, PIANO, PIANO, BOTH, BOTH, BOTH]
    assert set(sources) == {"piano.wav"}
    assert clips.frames[clips.causes == BOTH].mean() > clips.frames[clips.causes == PIANO].mean()


# -- recorded clips --------------------------------------------------------------------------------------------------


def test_recorded_clips_are_the_same_again_and_short_ones_are_repeated(tmp_path):
    write_wav(tmp_path / "long.wav", tone(25.0))
    write_wav(tmp_path / "short.wav", tone(4.0))
    write_wav(tmp_path / "tiny.wav", tone(1.0))
    spans = [recordings.Span(tmp_path / f"{name}.wav", "piano", source=name) for name in ("long", "short", "tiny")]
    first, sources = recordings.recorded_clips(tmp_path / "a", spans, FeatureConfig(), 10.0, 3, 2)
    again, _ = recordings.recorded_clips(tmp_path / "a", spans, FeatureConfig(), 10.0, 3, 2)
    anew, _ = recordings.recorded_clips(tmp_path / "b", spans, FeatureConfig(), 10.0, 3, 2)
    assert first.sha256 == again.sha256 == anew.sha256
    assert [sources.count(name) for name in ("long", "short", "tiny")] == [8, 2, 0]
    assert first.frames.shape == (10, 640, 96)


def clips_of(causes: list[int], value: int) -> dataset.Clips:
    return dataset.Clips(np.full((len(causes), 640, 96), value, np.uint8), np.array(causes), "x")


def test_a_batch_has_its_share_of_recordings_and_every_source_equally_often():
    synthetic = clips_of([PIANO, OTHER, NOISE] * 20, 100)
    real = clips_of([PIANO] * 9 + [PIANO] + [OTHER] * 2, 0)
    real.frames[:9], real.frames[9], real.frames[10:] = 150, 160, 170
    recorded = dataset.Recorded(real, ["often"] * 9 + ["seldom"] + ["other"] * 2)
    still = replace(dataset.AugmentConfig(), mix_share=0.0, splice_share=0.0, recorded_share=0.5)
    batches = dataset.Batches(synthetic, FeatureConfig(), still, 20, 0, recorded)
    drawn = [batches._draw_real(dataset.REAL_SHARES) for _ in range(400)]
    counts = [sum(60 <= index < 69 for index in drawn), sum(index == 69 for index in drawn)]
    assert 0.6 < counts[0] / counts[1] < 1.7
    batch = next(iter(batches))
    assert batch.frames_db.shape == (20, 640, 96)
    assert np.isfinite(batch.frames_db).all()


def test_a_hidden_source_is_never_drawn(tmp_path):
    write_wav(tmp_path / "a.wav", tone(12.0))
    write_wav(tmp_path / "b.wav", tone(12.0))
    (tmp_path / "l.csv").write_text("file,label,licence,source\na.wav,piano,CC0,anna\nb.wav,noise,CC0,bert\n")
    recorded, spans = train.load_recorded(tmp_path / "l.csv", None, "^an", tmp_path / "cache", 0)
    assert [item.source for item in spans] == ["bert"]
    assert set(recorded.sources) == {"bert"}
    assert set(recorded.clips.causes.tolist()) == {NOISE}


def test_a_splice_is_labelled_from_its_middle_on():
    synthetic = clips_of([PIANO, NOISE], 100)
    always = replace(dataset.AugmentConfig(), mix_share=0.0, splice_share=1.0)
    batches = dataset.Batches(synthetic, FeatureConfig(), always, 2, 4)
    for _ in range(20):
        frames, labels = batches._example(0)
        assert frames.shape == (640, 96)
        changes = np.flatnonzero(np.diff(labels[2]))
        assert len(changes) <= 1
        assert labels[2][0] == PIANO


def test_a_gap_is_silence_of_two_to_five_seconds_between_two_spans_of_the_same():
    synthetic = clips_of([PIANO, SILENCE], 100)
    synthetic.frames[1] = 0
    gaps = replace(dataset.AugmentConfig(), mix_share=0.0, splice_share=0.0, gap_share=1.0)
    batches = dataset.Batches(synthetic, FeatureConfig(), gaps, 2, 4)
    for _ in range(20):
        _, labels = batches._example(0)
        assert labels[2][0] == labels[2][-1] == PIANO or labels[2][-1] == SILENCE
        assert 2 * 64 <= (labels[2] == SILENCE).sum() <= 5 * 64
        assert (labels[0] == (labels[2] == PIANO)).all()


# -- sampled pianos --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pitch", "layer"),
    [("A0v8.ogg", 21, 8), ("D#4v16.ogg", 63, 16), ("As3.ogg", 58, 0), ("Piano.ff.Eb4.flac", 63, 0), ("c#7.wav", 97, 0)],
)
def test_notes_are_read_from_file_names(tmp_path, name, pitch, layer):
    assert (samples.pitch_of(tmp_path / name), samples.layer_of(tmp_path / name)) == (pitch, layer)


@pytest.mark.parametrize("name", ["README.md", "index.js", "piano.wav", "LICENSE", "data1.wav"])
def test_other_files_name_no_note(tmp_path, name):
    assert samples.pitch_of(tmp_path / name) is None


def test_a_folder_of_notes_is_a_piano_that_plays_in_tune(tmp_path, monkeypatch):
    monkeypatch.setenv("CLASSIFIER_SOUNDS", str(tmp_path))
    for pitch in range(48, 72):
        name = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")[pitch % 12]
        fade = np.exp(-np.arange(RATE) / (0.3 * RATE))
        quiet = np.zeros(RATE // 4, np.float32)
        sound = np.concatenate([quiet, tone(1.0, 440 * 2 ** ((pitch - 69) / 12)) * fade])
        write_wav(tmp_path / "toy" / f"{name}{pitch // 12 - 1}.wav", sound)
    (folder,) = samples.find_sampled_pianos()
    bank = samples.SampledBank(np.random.default_rng(0), folder, RATE)
    played = bank.play([(0.5, 1.2, 57, 100)], [], 2.0)
    assert not played[: RATE // 2].any()
    assert np.abs(played[RATE // 2 : RATE // 2 + 400]).max() > 0.05  # the attack, not the silence before it
    spectrum = np.abs(np.fft.rfft(played[RATE // 2 : RATE]))
    assert abs(2 * int(spectrum.argmax()) - 220) <= 2


# -- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> dataset.Clips:
    """Six clips, made of the sounds that come with the project, whatever else this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASSIFIER_SOUNDS", str(tmp_path_factory.mktemp("sounds")))
        patch.setattr("classifiers.soundfont.SYSTEM_FOLDERS", ())
        return dataset.build_cache(tmp_path_factory.mktemp("cache"), 2, 5, FeatureConfig(), TEN_S, num_workers=1)


def test_a_tiny_training_run_learns_from_its_cache(tiny, tmp_path):
    import torch

    torch.set_num_threads(2)
    assert len(tiny.details) == len(tiny.causes) == 6
    material = train.Material(tiny, tiny)
    model = train.train(material, train.TrainConfig(batch_size=4), 0, dataset.AugmentConfig(), num_steps=3)
    windows, steps = model(torch.full((1, 640, 96), -60.0))
    assert windows.solo.shape == (1, 6)
    assert windows.causes.shape == (1, 6, 6)
    assert steps.solo.shape == (1, 40)


def test_targets_of_windows_and_steps_follow_the_labels():
    solo = np.zeros((1, 640), np.float32)
    solo[0, 320:] = 1.0
    cause = np.where(solo > 0, PIANO, NOISE).astype(np.int64)
    batch = dataset.Batch(np.zeros((1, 640, 96), np.float32), solo, solo, cause)
    of_windows, of_steps = train.window_targets(batch, 6, 320, 64), train.step_targets(batch, 16)
    assert of_windows[0][0].tolist() == pytest.approx([0.0, 0.058, 0.306, 0.693, 0.942, 1.0], abs=0.01)
    assert of_steps[0][0].tolist() == [0.0] * 20 + [1.0] * 20
    assert of_steps[2].shape == (1, 40, len(CAUSES))
    assert of_steps[2][0, 0].argmax() == NOISE


# -- weights ---------------------------------------------------------------------------------------------------------


def test_whole_weights_are_so_many_copies():
    indices = np.array([4, 7, 9])
    for seed in range(20):
        assert train.as_copies(indices, np.array([2.0, 1.0, 0.0]), seed).tolist() == [4, 4, 7]


def test_other_weights_are_right_in_the_mean():
    weights = np.array([1.0, 1.25, 3.5, 2.9])
    counts = np.array([np.bincount(train.as_copies(np.arange(4), weights, seed), minlength=4) for seed in range(4000)])
    assert counts.mean(axis=0) == pytest.approx(weights, abs=3 * 0.5 / 4000**0.5)  # three standard errors at most
    assert (np.abs(counts - weights) < 1).all()


def test_a_small_weight_leaves_no_clip_out():
    for seed in range(20):
        assert train.as_copies(np.arange(3), np.array([0.25, 0.5, 1.0]), seed).tolist() == [0, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0], [0.0, 0.0]])
def test_weights_that_are_none_are_one_line(weights):
    with pytest.raises(ValueError, match="every chosen clip needs a weight"):
        train.as_copies(np.arange(2), np.array(weights), 0)


def trained_on(clips: dataset.Clips, chosen: list[int], weights: list[float] | None = None) -> list:
    material = train.Material(
        clips, clips, chosen=np.array(chosen), weights=None if weights is None else np.array(weights)
    )
    model = train.train(material, train.TrainConfig(batch_size=2), 0, dataset.AugmentConfig(), num_steps=2)
    return [values.numpy() for values in model.state_dict().values()]


def same(one: list, other: list) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_takes_a_weight_as_so_many_copies():
    noise = np.random.default_rng(0).integers(0, 200, (4, 640, 96)).astype(np.uint8)
    clips = dataset.Clips(noise, np.array([PIANO, OTHER, NOISE, SILENCE]), "x")
    weighted = trained_on(clips, [0, 2, 3], [1.0, 3.0, 2.0])
    assert same(weighted, trained_on(clips, [0, 2, 2, 2, 3, 3]))
    assert not same(weighted, trained_on(clips, [0, 2, 3]))
