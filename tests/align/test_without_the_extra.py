"""Without parangonar and partitura `aria-data align` says what to install; everything else works."""

from __future__ import annotations

import sys

import pytest

from aria_data.align import require_partitura
from aria_data.errors import UsageError


@pytest.mark.parametrize("name", ["parangonar", "partitura"])
def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, name):
    for other in ("parangonar", "partitura"):
        monkeypatch.setitem(sys.modules, other, sys.modules.get(other, sys) if other != name else None)
    with pytest.raises(UsageError, match=rf"{name} is not installed. Run `pip install 'aria-data\[align\]'`"):
        require_partitura()
