"""Compile loops over arrays with Numba. Numba is imported when such a loop is first called, not before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers at its first call. Numba caches the compiled code beside its file."""

    @functools.cache
    def load() -> Callable[..., Any]:
        import numba

        try:
            return numba.njit(cache=True, nogil=True)(loop)
        except RuntimeError:  # Numba finds no writable cache folder: compile again in every process
            return numba.njit(nogil=True)(loop)

    @functools.wraps(loop)
    def call(*arguments: Any) -> Any:
        return load()(*arguments)

    return call
