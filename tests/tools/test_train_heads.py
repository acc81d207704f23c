"""What the heads of transkun are trained on: performances, pianos, and what is true of both."""

from __future__ import annotations

import mido
import numpy as np
import pytest

from aria_data.errors import UsageError
from aria_data.midi import Note
from classifiers.instruments import Bank
from flows.tools import heads_pianos
from flows.tools.heads_pianos import CHECK, TEST, TRAIN, Played, missing, part_of_piano, pianos
from flows.tools.heads_training import Example, example, fit_scale, loss_of_pedal
from flows.tools.heads_windows import Window, excerpt, part_of_piece, performances, read_performed
from flows.tools.train_heads import performance_of

RATE = 8000


@pytest.fixture
def performed(tmp_path):
    track = mido.MidiTrack([mido.Message("note_on", note=60, velocity=80, time=0)])
    for value, ticks in ((30, 240), (100, 240), (70, 240), (10, 960)):
        track.append(mido.Message("control_change", control=64, value=value, time=ticks))
    track.append(mido.Message("note_off", note=60, time=240))
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(tmp_path / "one.mid")
    return read_performed(tmp_path / "one.mid")


def test_the_positions_of_the_pedal_are_read_and_it_is_down_from_64_on(performed):
    assert performed.positions.tolist() == [0, 30, 100, 70, 10]
    played = excerpt(performed, 0.0, 3.0)
    (pedal,) = performance_of(played).pedals
    assert (pedal.onset_s, pedal.offset_s) == (0.5, 1.75)
    (later,) = performance_of(excerpt(performed, 1.0, 0.5)).pedals  # under way already, and not at its end
    assert (later.onset_s, later.offset_s) == (0.0, 0.5)
    faster = excerpt(performed, 0.0, 1.5, tempo=2.0, shift=3, louder=10)
    assert [(note.pitch, note.velocity, note.offset_s) for note in faster.notes] == [(63, 90, 1.0)]


class Steady(Bank):
    """A piano with one string that never fades by itself."""

    def __init__(self):
        super().__init__([60], RATE, True, 0.05)
        self._layers = [(np.ones(4 * RATE, np.float32), np.ones(4 * RATE, np.float32))]


@pytest.mark.parametrize(("positions", "falls_s"), [([0, 0], 0.5), ([100, 0], 2.0), ([0, 100], 0.5)])
def test_a_note_sounds_until_its_damper_touches_the_string(positions, falls_s, monkeypatch):
    monkeypatch.setattr(heads_pianos, "_damping", lambda rng, played: (played.position() < 64).astype(float))
    played = Played([Note(0.0, 0.5, 60, 127)], np.array([0.0, 2.0]), np.array(positions), 3.0)
    sound = heads_pianos._by_bank(np.random.default_rng(0), Steady(), played)
    falls = np.flatnonzero(sound < 0.5 * sound[0])[0] / RATE
    assert falls == pytest.approx(falls_s, abs=0.05)


def test_no_part_shares_a_piano_or_a_piece_with_another(tmp_path):
    assert part_of_piano("sampled:/any/steinway") == part_of_piano("font:/usr/share/FluidR3_GM.sf2") == TEST
    assert part_of_piano("sampled:/any/salamander") == part_of_piano("formula:3") == TRAIN
    assert part_of_piano("font:/usr/share/opl3.sf2") == ""
    for piece in range(12):
        for player in ("a", "b"):
            path = tmp_path / "Bach" / f"piece_{piece}" / f"{player}.mid"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    (tmp_path / "Bach" / "piece_1" / "midi_score.mid").write_bytes(b"")
    paths = performances(tmp_path, TRAIN, without=["piece_2"])["Bach"]
    assert {part_of_piece(path) for path in paths} == {TRAIN}
    assert not any(path.stem == "midi_score" or "piece_2" in path.parts for path in paths)
    with pytest.raises(UsageError, match="holds no performances"):
        performances(tmp_path, TEST, without=[f"piece_{piece}" for piece in range(12)])


def test_pianos_are_those_of_the_shipped_weights_wherever_they_lie_and_those_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CLASSIFIER_SOUNDS", str(tmp_path))
    for name in ("fonts/zz.sf2", "fonts/Merlin.sf2", "heads/A320U.sf2", "heads/GeneralUser_GS.sf3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    fonts = [name.split("/")[-1] for part in (TRAIN, CHECK) for name in pianos(part) if name.startswith("font:")]
    assert [name for name in fonts if name not in ("TimGM6mb.sf2", "sf_GMbank.sf2")] == [
        "A320U.sf2",
        "GeneralUser_GS.sf3",
        "Merlin.sf2",
    ]
    assert {"salamander", "tonejs"} <= set(missing(TRAIN))
    assert missing(CHECK) == ["sonivox"]


def test_what_a_short_window_is_filled_up_with_teaches_nothing():
    import torch

    from aria_data.transcribe.backends.transkun_heads import Heads

    def one(steps: int) -> Example:
        rng = torch.Generator().manual_seed(steps)
        nothing = torch.zeros(0)
        pooled, pedal = torch.randn(steps, 768, generator=rng), torch.rand(steps * 8, 3, generator=rng).round()
        return Example(pooled, pedal, nothing, nothing, nothing, nothing)

    heads = Heads().eval().requires_grad_(False)
    apart = [float(loss_of_pedal(heads, [one(steps)])) for steps in (88, 22)]
    # the last of 22 steps see what follows them, which is zero beyond the window's end as well
    assert float(loss_of_pedal(heads, [one(88), one(22)])) == pytest.approx(np.average(apart, weights=[4, 1]), rel=0.02)


def test_only_strikes_that_were_played_are_learned_from():
    tokens = np.zeros((90, 88, 256), np.float16)
    dt = 1024 / 44_100
    events = np.array([[41, 40, 60, 70, 0.25, 0, 1, 1], [43, 90, 95, 50, 0, 0, 1, 1], [0, 10, 20, 0, 0, 0, 1, 1]])
    notes = np.array([[40 * dt, 60 * dt, 60, 90], [200 * dt, 210 * dt, 62, 20]])
    position = np.where((np.arange(690) >= 100) & (np.arange(690) < 200), 64, 63)
    window = Window(tokens, events.astype(np.float32), notes.astype(np.float32), position.astype(np.float32), "")
    found = example(window)
    assert found.strikes.tolist() == [[41, 40]]
    assert found.around.shape == (1, 768)
    assert (found.velocities.tolist(), found.true_velocities.tolist()) == ([70.0], [90.0])
    assert found.pedal[:, 0].nonzero().flatten().tolist() == list(range(100, 200))
    assert found.pedal[:, 1].argmax() == 100
    assert found.pedal[:, 2].argmax() == 200


def test_the_scale_of_velocities_is_fitted_with_the_level_of_windows():
    from aria_data.transcribe.backends.transkun_heads import Heads

    rng, heads = np.random.default_rng(0), Heads()
    beside, usual, level_db = rng.uniform(-20, 20, 500), rng.uniform(40, 90, 500), rng.uniform(-10, 10, 500)
    true = 1.2 * beside + usual - 10 + 0.5 * level_db
    fit_scale(heads, np.stack([beside, usual, level_db, true], axis=1))
    assert heads.get_buffer("scale").tolist() == pytest.approx([1.2, -10, 0.5, 1.0], abs=1e-3)


def test_a_louder_window_is_never_taken_for_a_softer_one_and_only_what_differs_within_recordings_is_spread():
    from aria_data.transcribe.backends.transkun_heads import Heads

    rng, heads = np.random.default_rng(0), Heads()
    beside, usual, level_db = rng.uniform(-5, 5, 500), np.repeat([60.0, 70.0], 250), rng.uniform(-3, 3, 500)
    true = usual + 2 * beside - level_db + rng.normal(0, 5, 500)
    fit_scale(heads, np.stack([beside, usual, level_db, true], axis=1))
    times, plus, per_db, usual_times = heads.get_buffer("scale").tolist()
    assert per_db == pytest.approx(0, abs=1e-6)
    assert (plus, usual_times) == (pytest.approx(0, abs=1), 1.0)
    assert times > 2.1
