"""The classifier's interface, audio in and probabilities out, and the parts it is trained with."""

import ast
import json
import subprocess
import sys
import threading
import wave
from pathlib import Path

import numpy as np
import pytest

import classifiers
from classifiers import checkpoint, chunks, music, predict, soundfont, synthesize
from classifiers.features import FeatureConfig, LogMel, log_mel
from classifiers.predict import Classifier

RATE = 16000
PACKAGE = Path(classifiers.__file__).parent


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier.load()


def played(program: int, seconds: float, seed: int = 3, texture=music.melody_and_chords) -> np.ndarray:
    """Mono 16 kHz of random music on a program of the soundfont that pretty_midi carries."""
    notes, pedals = music.compose(np.random.default_rng(seed), seconds, (texture,), beats_per_s=2.0)
    stereo = soundfont.render(notes, pedals, program=program, sample_rate=RATE, tail_s=1.0, gain_db=12.0)
    waveform = stereo.mean(axis=1)[: int(seconds * RATE)]
    return np.pad(waveform, (0, int(seconds * RATE) - len(waveform)))


def scores_of(classifier: Classifier, waveform: np.ndarray, block_size: int = RATE) -> np.ndarray:
    blocks = (waveform[start : start + block_size] for start in range(0, len(waveform), block_size))
    return classifier.score_blocks(blocks).scores


# -- the package -----------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, classifiers; print([m for m in ('torch', 'av', 'scipy', 'librosa') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert result.stdout.strip() == "[]"


def test_the_package_stands_alone():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"aria_data", "flows"}, path


# -- soundfont -------------------------------------------------------------------------------------------------------


def test_a_note_starts_on_its_sample():
    early = soundfont.render([(0.0, 0.5, 60, 90)])
    late = soundfont.render([(1.2345, 1.7345, 60, 90)])
    start = round(1.2345 * 44100)
    assert not late[:start].any()
    np.testing.assert_array_equal(late[start : start + 20000], early[:20000])
    assert early.dtype == np.float32
    assert early.shape == (110250, 2)


def test_the_sustain_pedal_holds_a_released_note_and_the_soft_pedal_makes_it_quieter():
    note = [(0.0, 0.3, 60, 90)]
    after = slice(44100, 60000)
    dry, held = soundfont.render(note), soundfont.render(note, [(0.1, 2.0, soundfont.SUSTAIN)])
    soft = soundfont.render(note, [(0.0, 2.0, soundfont.SOFT)])
    assert np.abs(held[after]).max() > 20 * np.abs(dry[after]).max()
    assert np.abs(soft).max() < np.abs(dry).max()


def test_a_loud_cluster_does_not_clip():
    notes = [(0.0, 1.0, pitch, 127) for pitch in range(30, 100)]
    assert np.abs(soundfont.render(notes, gain_db=30)).max() <= 0.991


def test_an_ensemble_has_all_its_parts_and_an_unknown_program_is_named():
    drums = soundfont.Part(((1.0, 1.1, 38, 100),), is_drums=True)
    violin = soundfont.Part(((0.0, 0.5, 70, 100),), program=40, pan=-1.0)
    mix = soundfont.render_ensemble([drums, violin], tail_s=0.5)
    assert np.abs(mix[:44100, 0]).max() > 10 * np.abs(mix[:30000, 1]).max()
    assert np.abs(mix[44100:, 1]).max() > 0.01
    with pytest.raises(FileNotFoundError, match="find_soundfonts"):
        soundfont.render([(0, 1, 60, 90)], soundfont="nowhere.sf2")


# -- features --------------------------------------------------------------------------------------------------------


def test_frames_do_not_depend_on_how_the_sound_is_cut():
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(50_123).astype(np.float32)
    stream, pieces, position = LogMel(), [], 0
    while position < len(waveform):
        length = int(rng.integers(1, 5000))
        pieces.append(stream.feed(waveform[position : position + length]))
        position += length
    whole = log_mel(waveform)
    np.testing.assert_allclose(np.concatenate([*pieces, stream.flush()]), whole, atol=1e-4)
    assert whole.shape == (-(-50_123 // 250), 96)


def test_a_tone_lands_in_its_mel_band_and_halving_it_takes_six_decibels():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    loud, quiet = log_mel(tone)[30], log_mel(tone / 2)[30]
    peak = int(loud.argmax())
    assert 25 < peak < 50
    assert loud[peak] - quiet[peak] == pytest.approx(6.02, abs=0.01)


def test_stereo_blocks_are_refused():
    with pytest.raises(ValueError, match="mono"):
        LogMel().feed(np.zeros((100, 2), np.float32))


# -- predict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.4, 1.0, 3.2, 5.0, 61.3])
def test_there_is_one_score_a_second_of_any_length(classifier, seconds):
    scored = classifier.score_blocks([np.zeros(int(seconds * RATE), np.float32)])
    assert scored.scores.shape == scored.any_piano.shape == (int(np.ceil(seconds)),)
    assert scored.causes.shape == (int(np.ceil(seconds)), len(synthesize.CAUSES))
    assert scored.local_scores.shape == (int(np.ceil(seconds / scored.step_s)),)
    assert scored.duration_s == pytest.approx(seconds, abs=1e-3)


def test_an_empty_stream_has_no_scores(classifier):
    assert classifier.score_blocks([]).scores.shape == (0,)
    assert classifier.score_blocks([]).main_cause == "silence"


def test_scores_do_not_depend_on_blocks_or_chunks(classifier, monkeypatch):
    waveform = np.concatenate([played(0, 15, texture=music.arpeggios), played(48, 8.3, texture=music.chorale)])
    once = scores_of(classifier, waveform, len(waveform))
    np.testing.assert_allclose(scores_of(classifier, waveform, 7001), once, atol=2e-3)
    monkeypatch.setattr(chunks, "CHUNK_S", 9)
    np.testing.assert_allclose(scores_of(classifier, waveform, 7001), once, atol=2e-3)


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_cpu_computes_the_network_that_was_trained(classifier, is_turned):
    """A norm that turns values round cannot go before the pool that takes the largest of them."""
    import torch

    from classifiers.model import PianoNet
    from classifiers.on_cpu.folded import FoldedNet

    model = PianoNet(classifier.config).eval()
    model.load_state_dict(classifier._model.state_dict())
    if is_turned:
        model.trunk[4][2].weight.data[::3] *= -1
    frames = torch.from_numpy(log_mel(np.concatenate([played(0, 30, texture=music.arpeggios), played(48, 8)])))[:2400]
    folded = FoldedNet(model, with_integers=False)
    with torch.inference_mode():
        expected = model.steps(frames[None])[0].T
        for first, number in ((0, 20), (17, 60), (100, 150 - 4 - 100)):
            found = folded.steps(frames, first, number)
            np.testing.assert_allclose(found, expected[first : first + number], atol=1e-4)
        found = FoldedNet(model).steps(frames, 17, 60)  # a norm that turns values round is not rounded to integers
        error = float((found - expected[17:77]).norm() / expected[17:77].norm())
        assert error < (1e-5 if is_turned else 0.02)


def test_a_processor_that_rounds_wrongly_computes_in_float32(classifier, monkeypatch):
    """An operator of the same name may do something else in another torch, or overflow on another processor."""
    from classifiers.on_cpu import rounded
    from classifiers.on_cpu.folded import FoldedNet

    if not rounded.is_possible():
        pytest.skip("this machine has no such operator")
    assert any(isinstance(layer, rounded.RoundedLayer) for layer in FoldedNet(classifier._model)._layers)
    called = rounded.RoundedLayer.__call__
    monkeypatch.setattr(rounded.RoundedLayer, "__call__", lambda self, maps: called(self, maps) // 2)
    assert not any(isinstance(layer, rounded.RoundedLayer) for layer in FoldedNet(classifier._model)._layers)
    monkeypatch.setattr(rounded.platform, "machine", lambda: "riscv64")
    assert not rounded.is_possible()


def test_many_recordings_at_a_time_get_the_scores_of_each_alone(classifier):
    waveforms = {f"{seconds} s": played(0, seconds, seed=int(seconds)) for seconds in (3.0, 60.0, 20.0, 0.5)}
    streams = [(key, lambda waveform=waveform: iter([waveform])) for key, waveform in waveforms.items()]
    found = dict(classifier.score_many(streams, num_readers=2))
    assert found.keys() == waveforms.keys()
    for key, waveform in waveforms.items():
        alone = classifier.score_blocks([waveform])
        np.testing.assert_allclose(found[key].scores, alone.scores, atol=2e-3)
        np.testing.assert_allclose(found[key].local_scores, alone.local_scores, atol=2e-3)
        assert found[key].duration_s == alone.duration_s


def test_a_stream_that_breaks_costs_only_itself_and_leaves_no_thread(classifier):
    def broken():
        yield played(0, 60)
        raise OSError("the disk is gone")

    before = threading.active_count()
    streams = [("a", lambda: iter([played(0, 3)])), ("b", broken), ("c", lambda: iter([played(0, 3)]))]
    found = dict(classifier.score_many(streams, num_readers=2))
    assert isinstance(found["b"], OSError)
    assert len(found["a"].scores) == len(found["c"].scores) == 3
    assert threading.active_count() == before


def test_leaving_early_ends_the_readers(classifier):
    before = threading.active_count()
    streams = ((str(number), lambda: iter([played(0, 3)] * 50)) for number in range(50))
    scored = classifier.score_many(streams, num_readers=2)
    next(scored)
    scored.close()
    assert threading.active_count() == before


def test_a_device_that_is_not_there_is_one_clear_line(capsys):
    assert predict.main(["x.wav", "--device", "cuda:77"]) == 2
    assert "cuda:77" in capsys.readouterr().err


def test_piano_is_kept(classifier):
    assert scores_of(classifier, played(0, 20)).mean() > 0.7


ORGAN_IS_CLASSIFIED_AS_PIANO = "these weights give this organ 0.40: a known fault, classifiers/README.md"


@pytest.mark.parametrize(
    "sound",
    [
        "strings",
        "harpsichord",
        "noise",
        pytest.param("organ", marks=pytest.mark.xfail(strict=True, reason=ORGAN_IS_CLASSIFIED_AS_PIANO)),
    ],
)
def test_other_sounds_are_removed_with_margin(classifier, sound):
    waveform = {
        "strings": lambda: played(48, 20, texture=music.chorale),
        "harpsichord": lambda: played(6, 20),
        "noise": lambda: 0.1 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32),
        "organ": lambda: played(16, 20),
    }[sound]()
    assert scores_of(classifier, waveform).mean() < 0.3


def test_a_recording_30_db_quieter_gets_the_same_scores(classifier):
    waveform = played(0, 20)
    np.testing.assert_allclose(scores_of(classifier, waveform * 10**-1.5), scores_of(classifier, waveform), atol=0.1)


def test_silence_is_no_piano(classifier):
    dither = np.random.default_rng(0).integers(-1, 2, 10 * RATE).astype(np.float32) / 32768
    assert scores_of(classifier, np.zeros(10 * RATE, np.float32)).max() < 0.2
    assert scores_of(classifier, dither).max() < 0.2


def test_scores_change_where_the_sound_changes(classifier):
    noise = 0.05 * np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32)
    scores = scores_of(classifier, np.concatenate([noise, played(0, 30), noise]))
    assert scores[:17].max() < 0.5
    assert scores[23:47].mean() > 0.7
    assert scores[53:].max() < 0.5


def test_broken_samples_do_not_spread(classifier):
    waveform = played(0, 30)
    broken = waveform.copy()
    broken[100:200] = np.nan
    assert np.isfinite(scores_of(classifier, broken)).all()
    np.testing.assert_allclose(scores_of(classifier, broken)[12:], scores_of(classifier, waveform)[12:], atol=1e-3)


def test_the_command_reads_a_file_and_reports_the_one_it_cannot(tmp_path, capsys):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.mp3"
    with wave.open(str(good), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((played(0, 6) * 30000).astype("<i2").tobytes())
    bad.write_bytes(b"no sound here")
    assert predict.main([str(good), str(bad), "--json"]) == 1
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert len(row["scores"]) == 6
    assert row["hop_s"] == 1.0
    assert "bad.mp3" in captured.err


# -- checkpoint ------------------------------------------------------------------------------------------------------


def test_the_weights_that_come_along_are_the_ones_listed():
    listed, name = (checkpoint.DEFAULT_PATH.parent / "SHA256SUMS").read_text().split()
    assert name == checkpoint.DEFAULT_PATH.name
    assert checkpoint.sha256_of(checkpoint.DEFAULT_PATH) == listed
    assert checkpoint.DEFAULT_PATH.stat().st_size < 5_000_000


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    torch = pytest.importorskip("torch")
    weights = {"w": torch.ones(2, 3), "b": torch.full((3,), 0.1), "n": torch.tensor(7)}
    saved = checkpoint.Checkpoint(FeatureConfig(num_mels=8), {"channels": (1, 2)}, ("a", "b"), weights, {"seed": 4})
    sha256 = checkpoint.save(saved, tmp_path / "c.pt")
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert loaded.sha256 == sha256
    assert (loaded.features, loaded.model, loaded.causes, loaded.provenance) == (
        saved.features,
        saved.model,
        saved.causes,
        saved.provenance,
    )
    assert all(torch.equal(loaded.weights[name], weights[name].to(loaded.weights[name].dtype)) for name in weights)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_wrong_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "wrong.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointInvalid) as caught:
        Classifier.load(path)
    assert "\n" not in str(caught.value)
    assert "wrong.pt" in str(caught.value)


# -- training --------------------------------------------------------------------------------------------------------

SMALL = synthesize.SynthesisConfig(clip_s=6.0, clips_per_session=3)


def test_a_session_depends_on_its_seed_and_number_alone():
    first, again, other = (synthesize.make_session(7, number, SMALL) for number in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert (a.cause, a.detail) == (b.cause, b.detail)
        np.testing.assert_array_equal(a.waveform, b.waveform)
    assert any(a.detail != b.detail for a, b in zip(first, other, strict=True))
    assert all(clip.waveform.shape == (6 * RATE,) and np.isfinite(clip.waveform).all() for clip in (*first, *other))


def test_every_texture_gives_playable_notes():
    for texture in music.TEXTURES:
        notes, _ = music.compose(np.random.default_rng(0), 8.0, (texture,))
        assert notes
        assert all(0 <= on < off and on < 8.0 and 21 <= p <= 108 and 1 <= v <= 127 for on, off, p, v in notes)


def test_adding_two_equal_sounds_is_three_decibels_more():
    from classifiers import dataset

    frames = np.full((4, 3), -20.0, np.float32)
    np.testing.assert_allclose(dataset.add_sounds(frames, frames), -20 + 3.0103, atol=1e-4)
    assert dataset.loudness(frames) == pytest.approx(-20)
