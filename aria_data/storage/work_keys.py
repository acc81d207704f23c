"""The work key of an item: the hash that says whether a stage has already done this work, with these settings.

A changed setting, a new version of a stage or another input gives another key, and the work is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def work_key(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Hash everything that determines the result of a piece of work: 32 hex digits."""
    return key_of(key_start(stage, version, config), inputs)


def key_start(stage: str, version: int, config: Mapping[str, Any]) -> str:
    """The part of what is hashed that all items of a stage share."""
    return f"{_text([stage, version, config])[:-1]}, "


def key_of(start: str, inputs: Mapping[str, Any]) -> str:
    """The work key of one item; `start` is from `key_start`."""
    return hashlib.sha256(f"{start}{_text(inputs)}]".encode()).hexdigest()[:32]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
