"""A build decodes a file once for ingest, classify and fingerprint, and only for those that have work to do."""

from __future__ import annotations

import shutil

import pytest
from fakes import melody, use_fakes, write_audio

from aria_data.records import Fingerprint, Recording, WindowScores
from aria_data.storage.stage_tables import StageTable
from flows.cli.jobs import run_build
from flows.workers.decoding import Decoding

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")
TABLES = (("ingest", Recording), ("classify", WindowScores), ("fingerprint", Fingerprint))


@pytest.fixture
def orders(monkeypatch):
    """What was decoded, as it is asked for."""
    use_fakes(monkeypatch)
    made = []
    decode = Decoding.__iter__

    def noted(self):
        made.append(self._order)
        return decode(self)

    monkeypatch.setattr(Decoding, "__iter__", noted)
    return made


@pytest.fixture
def source(tmp_path):
    for number in range(3):
        write_audio(tmp_path / "in" / f"{number}.flac", melody(5, number, 44_100, 2), 44_100)
    return tmp_path / "in"


def build(source, out, *settings):
    return run_build(source, out, settings=(*SETTINGS, *settings), with_prefect=False)


def outcomes_in(out):
    found = {name: StageTable(out, name, kind).all() for name, kind in TABLES}
    return {name: sorted(outcomes, key=lambda one: one.item_id) for name, outcomes in found.items()}


def test_a_new_file_is_decoded_once(source, tmp_path, orders):
    shutil.copy(source / "0.flac", source / "copy.flac")
    build(source, tmp_path / "out")
    assert len(orders) == 4
    assert sorted(order.is_sent for order in orders) == [False, True, True, True]  # the copy is only described


@pytest.mark.parametrize("lost", [("classify",), ("fingerprint",), ("classify", "fingerprint"), ("ingest",)])
def test_only_what_is_not_done_is_made_again_and_it_is_the_same(lost, source, tmp_path, orders):
    build(source, tmp_path / "out")
    before = outcomes_in(tmp_path / "out")
    assert all(len(outcomes) == 3 for outcomes in before.values())
    for name in lost:
        shutil.rmtree(tmp_path / "out" / "tables" / name)
    orders.clear()
    summary = build(source, tmp_path / "out")
    assert outcomes_in(tmp_path / "out") == before
    assert {name for name, stage in summary.stages.items() if stage.num_worked_on} == set(lost)
    assert len(orders) == 3
    assert {order.is_described for order in orders} == {lost == ("ingest",)}
    assert {order.is_sent for order in orders} == {"classify" in lost}
    assert {bool(order.listener) for order in orders} == {"fingerprint" in lost}


def test_an_order_and_its_answer_name_no_place_of_this_machine(tmp_path):
    """Fetched audio is named by its place below the dataset, which another machine may have somewhere else."""
    import pickle

    from aria_data.audio.whole import Order, decode_whole

    write_audio(tmp_path / "here" / "audio" / "a.wav", melody(5))
    order = Order("audio/a.wav", 16_000)
    assert str(tmp_path).encode() not in pickle.dumps(order)
    here = decode_whole(lambda block: None, str(tmp_path / "here"), order)
    assert str(tmp_path).encode() not in pickle.dumps(here)
    (tmp_path / "here").rename(tmp_path / "there")
    assert decode_whole(lambda block: None, str(tmp_path / "there"), pickle.loads(pickle.dumps(order))) == here
