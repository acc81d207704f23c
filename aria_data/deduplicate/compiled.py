"""Loops over arrays that are compiled by Numba, when one is first called: importing this costs nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers at its first call; the compiled code is kept beside its file."""

    @functools.cache
    def load() -> Callable[..., Any]:
        import numba

        try:
            return numba.njit(cache=True, nogil=True)(loop)
        except RuntimeError:  # no folder where compiled code may be kept: compile again in every process
            return numba.njit(nogil=True)(loop)

    @functools.wraps(loop)
    def call(*arguments: Any) -> Any:
        return load()(*arguments)

    return call
