"""One dataset for the tests of this folder: two recordings of one performance, another piece, noise, a broken file."""

from __future__ import annotations

import pytest
from fakes import melody, noise, use_fakes, write_audio


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    from flows.build_dataset import build

    root = tmp_path_factory.mktemp("browse")
    write_audio(root / "in" / "Chopin - Nocturne Op. 9 No. 1.wav", melody(12))
    write_audio(root / "in" / "Chopin - Nocturne Op. 9 No. 1 (another transfer).flac", melody(12) * 0.8)
    write_audio(root / "in" / "Satie - Gymnopédie No. 1.wav", melody(8, seed=5))
    write_audio(root / "in" / "noise.wav", noise(8))
    (root / "in" / "broken.mp3").write_bytes(b"no audio")
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        build(root / "in", root / "out", settings=["segment.min_segment_s=5"], with_prefect=False)
    return root / "out"
