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
    text = json.dumps([stage, version, config, inputs], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
