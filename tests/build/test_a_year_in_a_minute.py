"""A year in a minute: a dataset through changes in any order keeps its word after each (`tests/support/year.py`)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from year import CUTS, DISKS, NAMES, PIECES, TITLES, Year

disks, names = st.sampled_from(DISKS), st.sampled_from(NAMES)
titles = st.integers(0, len(TITLES) - 1)
pieces = st.lists(
    st.integers(0, len(PIECES) - 1), min_size=1, max_size=3, unique=True
)  # a piece played twice would have the same notes twice
places = st.integers(0, 99)  # which of those that there are
deaths = st.one_of(st.just(0), st.integers(1, 25))


class AnyYear(RuleBasedStateMachine):
    """Every rule changes something and builds, or leaves that to a later one."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.year = Year(Path(tempfile.mkdtemp(prefix="aria-data-year-")), self.patch)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.year.root)

    def pick(self, place: int) -> tuple[str, str]:
        found = self.year.recordings()
        return found[place % len(found)]

    @rule(disk=disks, name=names, pieces=pieces, title=titles)
    def record(self, disk, name, pieces, title):
        self.year.record(disk, name, pieces, title)
        self.year.build()

    @precondition(lambda self: self.year.recordings())
    @rule(place=places, disk=disks, name=names, is_tagged=st.booleans())
    def copy(self, place, disk, name, is_tagged):
        self.year.copy(*self.pick(place), disk, name, is_tagged)
        self.year.build()

    @precondition(lambda self: self.year.recordings())
    @rule(place=places)
    def delete(self, place):
        self.year.delete(*self.pick(place))

    @precondition(lambda self: self.year.recordings())
    @rule(place=places, disk=disks, name=names)
    def rename(self, place, disk, name):
        self.year.rename(*self.pick(place), disk, name)
        self.year.build()

    @precondition(lambda self: self.year.recordings())
    @rule(place=places, title=titles)
    def entitle(self, place, title):
        self.year.entitle(*self.pick(place), title)
        self.year.build()

    @rule(disk=disks)
    def unmount(self, disk):
        self.year.unmount(disk)
        self.year.build()

    @rule()
    def move_all(self):
        self.year.move_all()
        self.year.build()

    @rule(cut=st.sampled_from(sorted(CUTS)))
    def recut(self, cut):
        self.year.recut(cut)
        self.year.build()

    @rule()
    def reweight(self):
        self.year.reweight()
        self.year.build()

    @precondition(lambda self: self.year.present())
    @rule(place=places, kind=st.sampled_from(["segment_id", "segment_id", "recording_id", "source_url"]), die_at=deaths)
    def remove(self, place, kind, die_at):
        rows = self.year.present()
        self.year.remove([rows[place % len(rows)][kind]], die_at)

    @rule(die_at=st.integers(1, 25))
    def die(self, die_at):
        self.year.build(die_at)

    @rule()
    def build(self):
        self.year.build()
        self.year.check_against_a_fresh_one()

    @precondition(lambda self: not self.year.is_changed)
    @rule()
    def build_again(self):
        self.year.build_again()
        self.year.check_exports()


def run(years: int, steps: int, **options) -> None:
    chosen = settings(
        max_examples=years, stateful_step_count=steps, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), **options,
    )  # fmt: skip
    run_state_machine_as_test(AnyYear, settings=chosen)


def test_whatever_happens_to_a_dataset_it_keeps_its_word():
    run(2, 8, derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_two_hundred_years_of_thirty_changes_lose_nothing_and_bring_nothing_back(part):
    run(20, 30)  # of the 200, so that what was found so far is seen
