"""The real transcriber on real sound: a piece that is rendered here, so its notes are known."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

from aria_data.errors import ConfigInvalid, TranscriptionFailed, UsageError
from aria_data.midi import SUSTAIN, Note, Pedal, Performance, midi_bytes, read_midi
from aria_data.midi.accuracy import compare_notes
from aria_data.records import Segment
from aria_data.transcribe import Compute, TranscribeConfig, TranscriptionResult, backends, base
from aria_data.transcribe.backends import transkun_int8
from aria_data.transcribe.backends.intervals import decode, decode_batch, decode_tracks
from aria_data.transcribe.backends.transkun import HOP_S, WINDOW_S, weights_path
from aria_data.transcribe.batching import transcribe_all, transcribe_one
from aria_data.transcribe.midi_output import save_transcription

SECONDS = 20  # more than one window, so that events are joined across two


@pytest.fixture(scope="module")
def played() -> Performance:
    """A slow melody over broken chords, with the sustain pedal down for every second bar."""
    notes, pedals = [], []
    for beat in range(36):
        onset_s = 0.5 + beat * 0.5
        notes.append(Note(onset_s, onset_s + 0.45, 48 + (0, 7, 4, 7)[beat % 4] + (0, 5, 7, 0)[beat // 4 % 4], 60))
        if beat % 2 == 0:
            notes.append(Note(onset_s, onset_s + 0.9, 72 + (0, 4, 7, 5, 2)[beat % 5], 85))
        if beat % 8 == 0:
            pedals.append(Pedal(onset_s, onset_s + 1.9, SUSTAIN))
    return Performance(sorted(notes), pedals)


@pytest.fixture(scope="module")
def waveform(played) -> np.ndarray:
    from classifiers.soundfont import render

    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in played.notes]
    pedals = [(pedal.onset_s, pedal.offset_s, pedal.controller) for pedal in played.pedals]
    return render(notes, pedals)[: SECONDS * 44_100]


@pytest.fixture(scope="module")
def transkun():
    return backends.load(TranscribeConfig("transkun"), Compute("cpu"))


@pytest.fixture(scope="module")
def whole_result(transkun, waveform) -> TranscriptionResult:
    return transcribe_one(transkun, [waveform])


@pytest.fixture(scope="module")
def transcribed(whole_result) -> Performance:
    return whole_result.performance


def test_the_notes_that_were_played_are_transcribed(played, transcribed):
    assert compare_notes(played, transcribed).onset_f1 >= 0.97


def test_a_window_border_neither_loses_nor_doubles_notes(played, transcribed):
    border_s = HOP_S - (WINDOW_S - HOP_S)
    near = [note for note in transcribed.notes if border_s - 0.75 < note.onset_s < WINDOW_S - 0.25]
    true = [note for note in played.notes if border_s - 0.75 < note.onset_s < WINDOW_S - 0.25]
    assert len(near) == len(true)


def test_a_pitch_never_overlaps_itself_and_velocities_are_midi(transcribed):
    last_end: dict[int, float] = {}
    for note in transcribed.notes:
        assert note.onset_s >= last_end.get(note.pitch, 0.0)
        assert 1 <= note.velocity <= 127
        last_end[note.pitch] = note.offset_s


def test_the_melody_is_louder_than_the_accompaniment(transcribed):
    melody = np.mean([note.velocity for note in transcribed.notes if note.pitch >= 72])
    assert melody > np.mean([note.velocity for note in transcribed.notes if note.pitch < 72]) + 5


@pytest.mark.slow
def test_the_result_does_not_depend_on_how_the_audio_is_cut_into_blocks(transkun, waveform, transcribed):
    blocks = np.array_split(waveform, 997)
    assert midi_bytes(transcribe_one(transkun, blocks).performance) == midi_bytes(transcribed)


def test_silence_and_nothing_give_no_notes(transkun):
    assert transcribe_one(transkun, [np.zeros((44_100, 2), np.float32)]).performance.notes == []
    assert transcribe_one(transkun, []).performance == Performance([], [])


def test_a_window_in_which_nothing_sounds_is_not_computed(transkun, waveform, monkeypatch):
    sounding = np.ascontiguousarray(waveform[: transkun.window])
    computed = []
    tokens = transkun.network.sounding_tokens
    counted = lambda window: computed.append(len(window)) or tokens(window)  # noqa: E731
    monkeypatch.setattr(transkun.network, "sounding_tokens", counted)
    (silent,), (heard,) = transkun.infer(np.zeros_like(sounding)[None]), transkun.infer(sounding[None])
    assert computed == [1]
    assert silent.lattice.is_finite
    assert silent.lattice.ends.shape == heard.lattice.ends.shape
    assert not any(silent.lattice.path(track, 0) for track in range(90))


@pytest.fixture(scope="module")
def ending(transkun, waveform) -> np.ndarray:
    """A window of which all after 8 s is silent, as the last one of a span is."""
    window = np.zeros((transkun.window, 2), np.float32)
    window[: 8 * 44_100] = waveform[44_100 : 9 * 44_100]
    return window


def onsets(lattice) -> set[tuple[int, int]]:
    return {(track, begin) for track in range(90) for begin, _ in lattice.path(track, 0)}


def beside(found: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """These onsets and the frames beside them, within the 50 ms that the F1 allows."""
    return {(track, begin + shift) for track, begin in found for shift in (-2, -1, 0, 1, 2)}


def test_silence_at_the_end_of_a_window_is_left_out_and_the_notes_are_the_same(exact, ending):
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(ending.T))[None]
    whole, num_frames = exact.network.tokens(waveform)
    part, num_kept = exact.network.sounding_tokens(waveform)
    assert (num_frames, num_kept) == (691, part.shape[2] * 8)
    assert 8 * 44_100 / 1024 < num_kept < 10 * 44_100 / 1024  # of 16 s, 691 frames
    lattices = [
        decode_tracks(exact.network.tracks(tokens[0], frames), 90, frames)
        for tokens, frames in ((whole, num_frames), (part, num_kept))
    ]
    theirs, ours = (onsets(lattice) for lattice in lattices)
    assert len(theirs) > 20
    assert len(theirs - beside(ours)) + len(ours - beside(theirs)) <= 1
    (output,) = exact.infer(ending[None])
    assert output.lattice.ends.shape == (90, 691)
    assert onsets(output.lattice) == ours


def test_a_window_that_sounds_to_its_end_is_computed_whole(exact, window):
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(window.T))[None]
    (whole, num_frames), (same, num_kept) = exact.network.tokens(waveform), exact.network.sounding_tokens(waveform)
    assert num_frames == num_kept
    assert torch.equal(whole, same)


def test_the_spectrum_of_silence_is_that_of_one_of_its_frames(exact, ending):
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(ending.T))[None]
    spectrum = exact.network._spectrum
    assert torch.equal(spectrum(waveform), spectrum(waveform, 8 * 44_100))


def test_windows_in_one_call_are_transcribed_as_each_is_alone(transkun, ending, window):
    together = transkun.infer(np.stack([ending, window]))
    for one, alone in zip(together, (transkun.infer(ending[None])[0], transkun.infer(window[None])[0]), strict=True):
        assert np.array_equal(one.lattice.ends, alone.lattice.ends)


def test_notes_and_pedals_survive_the_file(transcribed, tmp_path):
    (tmp_path / "transcribed.mid").write_bytes(midi_bytes(transcribed))
    back = read_midi(tmp_path / "transcribed.mid")
    assert len(back.notes) == len(transcribed.notes)
    assert len(back.pedals) == len(transcribed.pedals)
    onsets = [(note.pitch, note.onset_s) for note in back.notes]
    assert np.allclose(sorted(onsets), sorted((note.pitch, note.onset_s) for note in transcribed.notes), atol=5e-4)


def test_the_weights_have_the_hash_that_is_recorded(transkun):
    assert transkun.sha256 == hashlib.sha256(weights_path().read_bytes()).hexdigest()
    assert backends.weights_sha256(TranscribeConfig("transkun")) == transkun.sha256


def test_the_numbers_it_computes_in_are_known_and_recorded(transkun, exact, transcribed, tmp_path):
    assert transkun.precision in ("float32", "bfloat16", "int8")
    assert exact.precision == "float32"
    result, segment = TranscriptionResult(transcribed), Segment("local-1", 0, 0.0, 10.0, 0.9)
    assert save_transcription(tmp_path, segment, result, exact).precision == "float32"


@pytest.fixture(scope="module")
def rounded():
    return backends.load(compute=Compute("cpu", dtype="int8"))


def test_in_8_bit_integers_the_notes_are_those_of_float32(rounded, exact, window):
    (ours,), (theirs,) = rounded.infer(window[None]), exact.infer(window[None])
    assert rounded.precision == "int8"
    onsets = [
        {(track, begin) for track in range(90) for begin, _ in lattice.path(track, 0)}
        for lattice in (ours.lattice, theirs.lattice)
    ]
    assert len(onsets[1]) > 20
    assert len(onsets[0] ^ onsets[1]) <= 0.1 * len(onsets[1])
    error = float((ours.tokens - theirs.tokens).norm() / theirs.tokens.norm())
    assert 0 < error < 0.06  # 0.04 on rendered piano (LOG.md)


@pytest.mark.parametrize(
    ("bfloat16_s", "int8_s", "chosen"),
    [(0.5, 0.2, "bfloat16"), (0.9, 0.4, "int8"), (0.9, 0.9, "float32"), (math.inf, math.inf, "float32")],
)
def test_bfloat16_is_chosen_where_it_is_fast_else_integers_where_they_are(monkeypatch, bfloat16_s, int8_s, chosen):
    monkeypatch.setattr(base, "product_seconds", lambda: (1.0, bfloat16_s, int8_s))
    assert base.choose_dtype("auto", "cpu", has_int8=True) == chosen
    assert base.choose_dtype("auto", "cpu") == chosen.replace("int8", "float32")  # a model that has no integers
    assert base.choose_dtype("float32", "cpu", has_int8=True) == "float32"


def test_a_kind_of_number_that_torch_lacks_never_ends(monkeypatch):
    def lacking():
        raise RuntimeError

    assert all(seconds > 0 for seconds in base.product_seconds())
    monkeypatch.setattr(base, "_product_of_int8", lambda weight: lacking)
    assert base.product_seconds.__wrapped__()[2] == math.inf


def test_no_sum_of_two_products_of_inputs_as_measured_leaves_16_bits():
    import torch

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 256, generator=generator) * torch.rand(64, 1, generator=generator)
    weight[0, :2] = 9.0  # two large neighbours
    steps = torch.round(weight / transkun_int8.steps_of(weight)[:, None])
    pairs = steps.unflatten(1, (-1, 2))
    most = torch.maximum(pairs.clamp(min=0).sum(2), -pairs.clamp(max=0).sum(2)).max()
    assert steps.abs().max() <= 127
    assert most * 232 < 2**15
    assert steps.abs().amax(1).min() > 60  # and no row is rounded coarsely


def test_in_8_bit_integers_too_a_window_without_finite_scores_fails_and_its_neighbour_does_not(rounded, window):
    broken = window.copy()
    broken[1000] = np.nan
    good, bad = rounded.infer(np.stack([window, broken]))
    assert isinstance(bad, TranscriptionFailed)
    assert good.lattice.is_finite


def test_in_8_bit_integers_the_tokens_of_pedals_lose_least(rounded, exact, window):
    (ours,), (theirs,) = rounded.infer(window[None]), exact.infer(window[None])
    errors = (ours.tokens - theirs.tokens).flatten(1).norm(dim=1) / theirs.tokens.flatten(1).norm(dim=1)
    assert errors[0] < errors[2:].median()  # the sustain pedal, beside the keys


def test_int8_is_refused_where_it_cannot_be_computed(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="int8: needs a CPU"):
        base.choose_dtype("int8", "meta", has_int8=True)
    with pytest.raises(UsageError, match="int8: needs a CPU"):
        base.choose_dtype("int8", "cpu")
    assert transkun_int8.ranges_of("0" * 64) is None  # other weights than the ranges were measured with
    monkeypatch.setattr(transkun_int8, "RANGES", tmp_path / "none.npz")
    assert transkun_int8.ranges_of("0" * 64) is None


def test_half_of_scipy_is_not_loaded_with_the_model():
    code = "import sys; from aria_data.transcribe import backends; backends.load(); print('mir_eval' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_other_weights_under_the_same_name_have_another_hash(tmp_path):
    path = tmp_path / "weights.pth"
    config = TranscribeConfig("bytedance", checkpoint=str(path))
    for content in (b"some weights", b"other ones"):
        path.write_bytes(content)
        for _ in range(2):
            assert backends.weights_sha256(config) == hashlib.sha256(content).hexdigest()


def test_an_unknown_transcriber_is_refused_by_name():
    with pytest.raises(ConfigInvalid, match="'whisper' is not one of"):
        backends.load(TranscribeConfig("whisper"))


def test_a_module_outside_this_project_is_a_transcriber_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "their_models").mkdir()
    (tmp_path / "their_models" / "quiet.py").write_text(
        "def load(config, compute):\n    return 'loaded', config.transcriber\n\n"
        "def weights_sha256(config):\n    return '0' * 64\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = TranscribeConfig("their_models.quiet")
    assert backends.load(config) == ("loaded", "their_models.quiet")
    assert backends.weights_sha256(config) == "0" * 64
    assert (backends.notes_version(config), backends.heads_sha256(config), backends.weights_file(config)) == (
        1,
        "",
        None,
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("their_models.missing", r"cannot be imported \(ModuleNotFoundError: .*PYTHONPATH"),
        ("their_models.broken", r"cannot be imported \(RuntimeError: no weights here\).*PYTHONPATH"),
        ("their_models.empty", r"has no function load\. docs/how-to/add-a-transcriber\.md"),
        ("their models.quiet", r"is no name of a Python module\. Write PACKAGE\.MODULE"),
        (".quiet", r"is no name of a Python module"),
    ],
)
def test_a_module_that_is_no_transcriber_is_refused_with_what_to_do(tmp_path, monkeypatch, name, said):
    (tmp_path / "their_models").mkdir()
    (tmp_path / "their_models" / "broken.py").write_text("raise RuntimeError('no weights\\nhere')\n")
    (tmp_path / "their_models" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigInvalid, match=said) as refused:
        backends.check(TranscribeConfig(name), "measure.second_transcriber")
    assert "\n" not in str(refused.value)


def test_every_backend_has_what_is_needed_and_a_new_file_is_one():
    for name in backends.NAMES:
        module = importlib.import_module(f"aria_data.transcribe.backends.{name}")
        assert callable(module.load)
        assert callable(module.weights_sha256)
    assert "transkun" in backends.NAMES


def test_a_hop_that_leaves_audio_out_is_refused():
    for hop_s in (16.0, -1.0, 0.5):
        with pytest.raises(ConfigInvalid, match="hop_s"):
            backends.load(TranscribeConfig(hop_s=hop_s), Compute("cpu"))


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(UsageError, match="--device tpu"):
        backends.load(compute=Compute("tpu"))


def test_the_model_is_sure_of_clean_piano_and_says_so_for_each_note(whole_result):
    assert 0.9 < whole_result.confidence <= 1.0
    assert whole_result.note_confidences.shape == (len(whole_result.performance.notes),)
    assert whole_result.note_confidences.mean() > 0.9


def test_the_model_is_less_sure_in_noise(transkun, waveform, whole_result):
    part = waveform[: 8 * 44_100]
    loud = np.random.default_rng(0).normal(0, waveform.std() * 20, part.shape).astype(np.float32)
    assert transcribe_one(transkun, [part + loud]).confidence < whole_result.confidence - 0.1


@pytest.mark.slow
def test_many_recordings_together_give_what_each_gives_alone(transkun, waveform, whole_result):
    parts = {"whole": waveform, "start": waveform[: 5 * 44_100], "none": waveform[:0], "end": waveform[12 * 44_100 :]}
    together = dict(transcribe_all(transkun, ((name, lambda part=part: [part]) for name, part in parts.items())))
    assert set(together) == set(parts)
    for name, part in parts.items():
        alone = whole_result if part is waveform else transcribe_one(transkun, [part])
        assert together[name].performance == alone.performance


@pytest.mark.slow
def test_audio_out_of_all_range_is_transcribed_like_any_other(transkun, waveform, transcribed):
    loud = transcribe_one(transkun, [waveform * 1e36]).performance
    assert compare_notes(transcribed, loud).onset_f1 > 0.99


def test_a_window_without_finite_scores_fails_and_its_neighbour_does_not(transkun, waveform):
    window = waveform[: transkun.window]
    broken = window.copy()
    broken[1000] = np.nan
    good, bad = transkun.infer(np.stack([window, broken]))
    assert isinstance(bad, TranscriptionFailed)
    assert good.lattice.is_finite


class Published:
    """The published network and decoder of the wheel, in float32, for one window. Ours must agree with them."""

    def __init__(self, transkun, window: np.ndarray):
        import torch
        from transkun.ModelTransformer import ModelConfig, TransKun
        from transkun.Util import makeFrame

        settings = ModelConfig()
        conf = json.loads(weights_path().with_suffix(".conf").read_text())["Model"]["config"]
        vars(settings).update(conf)
        model = TransKun(conf=settings)
        checkpoint = torch.load(weights_path(), map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint.get("best_state_dict") or checkpoint["state_dict"], strict=False)
        model.eval()
        model.backbone.useGradientCheckpoint = False
        frames = makeFrame(torch.from_numpy(np.ascontiguousarray(window.T)), 1024, 4096)[None]
        process = model.processFramesBatch

        def kept(frames):
            self.crf, self.tokens = process(frames)
            return self.crf, self.tokens

        model.processFramesBatch = kept
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.events, self.last_ends = model.transcribeFrames(frames, [0] * 90, lastFrameIdx=689)


@pytest.fixture(scope="module")
def window(transkun, waveform) -> np.ndarray:
    return np.ascontiguousarray(waveform[44_100 : 44_100 + transkun.window])


@pytest.fixture(scope="module")
def published(transkun, window) -> Published:
    return Published(transkun, window)


@pytest.fixture(scope="module")
def exact():
    return backends.load(compute=Compute("cpu", dtype="float32"))


@pytest.fixture(scope="module")
def scores(exact, window):
    import torch

    return exact.network.infer(torch.from_numpy(np.ascontiguousarray(window.T))[None])


def test_the_network_computes_what_the_published_one_does(scores, published):
    import torch

    length = torch.arange(scores.single.shape[-1])
    ours = (scores.begins[0] @ scores.ends[0].transpose(1, 2)) * (length[None] - length[:, None]).clamp(min=0)
    theirs = published.crf.score.permute(2, 1, 0).triu(1)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4
    diagonal = published.crf.score.diagonal(dim1=0, dim2=1)
    assert float((scores.single[0] - diagonal).abs().max()) < 1e-2


def test_the_decoder_finds_the_published_path(scores, published):
    (one,) = scores.per_window()
    lattice = decode(*one)
    theirs = published.crf.decode(forcedStartPos=[0] * 90)
    ours = [lattice.path(track, 0) for track in range(90)]
    assert sum(map(len, theirs)) > 40
    assert ours == [[tuple(note) for note in notes] for notes in theirs]


def test_the_probability_of_an_onset_is_that_of_the_published_lattice(scores, published):
    from transkun.CRF.NeuralSemiCRFInterval import forward_backward

    (one,) = scores.per_window()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, share, _ = forward_backward(published.crf.score.double(), published.crf.noiseScore.double())
    assert np.abs(share.sum(0).T.numpy() - decode(*one).onset_probability).max() < 1e-3


def test_a_gpu_decodes_as_the_processor_does(scores):
    (one,) = scores.per_window()
    alone, (together,) = decode(*one), decode_batch(scores)
    assert [alone.path(t, 0) for t in range(90)] == [together.path(t, 0) for t in range(90)]
    assert np.abs(alone.onset_probability - together.onset_probability).max() < 1e-3


def test_notes_have_the_published_attributes(exact, scores, published):
    (one,) = scores.per_window()
    lattice = decode(*one)
    notes = [(track, *note) for track in range(90) for note in lattice.path(track, 0)]
    attributes = exact.network.attributes(scores.tokens[0], notes)
    frame_s = exact.frame / exact.sample_rate
    ours = sorted(
        (exact.targets[track], round((begin + shift) * frame_s, 3), velocity)
        for (track, begin, _), (velocity, shift, *_) in zip(notes, attributes, strict=True)
    )
    theirs = sorted((e.pitch, round(e.start, 3), e.velocity) for e in published.events[0])
    assert len(ours) == len(theirs)
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= len(ours) - 1  # one may be rounded otherwise


@pytest.mark.slow
def test_windows_give_the_same_in_a_batch_as_alone(exact, window):
    quiet = np.roll(window, 44_100, axis=0) * 0.1
    alone = [exact.infer(one[None])[0].lattice for one in (window, quiet)]
    together = [output.lattice for output in exact.infer(np.stack([window, quiet]))]
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.onset_probability - other.onset_probability).max() < 1e-3
