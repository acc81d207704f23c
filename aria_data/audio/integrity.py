"""Whether a decoded file is whole: neither cut short nor damaged. Used for local files and for fetched ones."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.audio.decode import AudioFacts
from aria_data.errors import AudioUnreadable
from aria_data.storage import printable


@dataclass(frozen=True)
class IntegrityLimits:
    """How much may be missing or broken."""

    min_decoded_share: float = 0.98  # of the duration the file announces; less means that it is cut short
    max_fault_share: float = 0.05  # packets that fail per second of audio
    max_faults: int = 3  # packets that may always fail: the join of two files costs one or two


def require_whole(name: str, facts: AudioFacts, limits: IntegrityLimits) -> None:
    """Raise `AudioUnreadable` (`truncated`, `damaged`) unless the file is whole. The message begins with `name`."""
    name, announced_s = printable(name), facts.info.duration_s
    if facts.early_end:
        raise AudioUnreadable(
            f"{name}: is cut short: after {facts.duration_s:.1f} s {facts.early_end}. Get the whole file again.",
            reason="truncated",
            measured=facts.duration_s,
        )
    if announced_s and facts.info.is_duration_stated and facts.duration_s < limits.min_decoded_share * announced_s:
        raise AudioUnreadable(
            f"{name}: is cut short: {facts.duration_s:.1f} s decode of the {announced_s:.1f} s it announces. "
            "Get the whole file again.",
            reason="truncated",
            measured=facts.duration_s / announced_s,
        )
    fault_share = facts.num_faults / max(facts.duration_s, 1.0)
    if facts.num_faults > limits.max_faults and fault_share > limits.max_fault_share:
        raise AudioUnreadable(
            f"{name}: is damaged: {facts.num_faults} packets do not decode. Get the file again.",
            reason="damaged",
            measured=float(facts.num_faults),
        )
