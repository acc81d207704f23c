"""Mutated feeds, pages, lists, rules, answers and names: no crash, no hang, bounded memory, nothing else is asked."""

from __future__ import annotations

from collections import Counter

import pytest
from fakes import melody, write_audio
from mutated.documents import ORIGINALS
from mutated.running import MAX_MEMORY_MB, Watched, decoy_server, rows_of
from places import SUPPORT

NUM_MUTATIONS = 500  # of each kind
NUM_SAMPLES = 4
REASONS = frozenset(
    "unsupported network rate-limited gone private forbidden robots copyright corrupt too-long bot-check refused live "
    "address_refused usage llm_answer_invalid llm_nothing_usable truncated not_audio damaged no_audio_decoded".split()
)


def check(kinds: list[str], count: int, folder) -> Counter:
    """Read mutations; gives how many of each verdict there were ("" is read)."""
    decoy = write_audio(folder / "decoy.wav", melody(1))
    watched, found = Watched(decoy), []
    script = SUPPORT / "mutated" / "reading.py"
    with decoy_server() as (port, asked):
        found = rows_of((script, folder, f"http://127.0.0.1:{port}", decoy, ",".join(kinds), 0, count), folder)
    assert len(found) == len(kinds) * count
    odd = [(kind, number, verdict) for kind, number, _, verdict, _ in found if verdict and verdict not in REASONS]
    assert odd == []
    assert max(memory_mb for *_, memory_mb in found) < MAX_MEMORY_MB
    assert asked == []
    assert watched.num_opened() == 0
    return Counter(verdict for *_, verdict, _ in found)


def test_some_mutated_texts_of_every_kind_are_read_or_refused_and_nothing_else_is_asked(tmp_path):
    check(list(ORIGINALS), NUM_SAMPLES, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ORIGINALS)
def test_mutated_texts_by_the_thousand_are_read_or_refused_and_nothing_else_is_asked(kind, tmp_path):
    found = check([kind], NUM_MUTATIONS, tmp_path)
    assert found[""] > NUM_MUTATIONS // 20  # not all is spoilt
