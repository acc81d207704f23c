"""Whether a decoded file is whole: neither cut short nor damaged. The same verdict for builds, fetches and commands."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.audio.decoded import Decoded
from aria_data.errors import AudioUnreadable
from aria_data.storage import printable

READER = 1  # raise it when audio that was refused may be read now: then such files are tried again once
REFUSALS = frozenset(
    "not_audio truncated sound_left_out damaged samples_not_finite samples_out_of_range too_many_channels "
    "no_audio_stream no_audio_decoded".split()
)


@dataclass(frozen=True)
class IntegrityLimits:
    """How much may be missing or broken."""

    min_decoded_share: float = 0.98  # of the duration the file announces; less means that it is cut short
    max_fault_share: float = 0.05  # packets that fail per second of audio
    max_faults: int = 3  # packets that may always fail: the join of two files costs one or two
    max_wild_share: float = 0.001  # of samples: what is clipped in fewer is a click or two


def require_whole(name: str, found: Decoded, limits: IntegrityLimits) -> None:
    """Raise `AudioUnreadable` for a file that is not whole: `truncated`, `sound_left_out`, `damaged`, `samples_...`.

    The message begins with `name`. A length that is a picture's, or a guess, proves nothing.
    """
    name = printable(name)
    if found.num_samples == 0:
        raise AudioUnreadable(f"{name}: holds no audio that decodes. Get the file again.", reason="no_audio_decoded")
    if found.early_end:
        raise AudioUnreadable(
            f"{name}: is cut short: after {found.duration_s:.1f} s {found.early_end}. Get the whole file again.",
            reason="truncated",
            measured=found.duration_s,
        )
    if found.unread:
        raise AudioUnreadable(
            f"{name}: is longer than it says: after {found.duration_s:.1f} s {found.unread}. Get the file again, or "
            "save it anew.",
            reason="sound_left_out",
            measured=found.duration_s,
        )
    _require_announced(name, found, limits)
    _require_sound(name, found, limits)


def _require_announced(name: str, found: Decoded, limits: IntegrityLimits) -> None:
    share, announced_s = found.share_of_announced()
    if share < limits.min_decoded_share:
        raise AudioUnreadable(
            f"{name}: is cut short: {share * announced_s:.1f} s decode of the {announced_s:.1f} s it announces. "
            "Get the whole file again.",
            reason="truncated",
            measured=share,
        )


def _require_sound(name: str, found: Decoded, limits: IntegrityLimits) -> None:
    fault_share = found.num_faults / max(found.duration_s, 1.0)
    if found.num_faults > limits.max_faults and fault_share > limits.max_fault_share:
        raise AudioUnreadable(
            f"{name}: is damaged: {found.num_faults} packets do not decode. Get the file again.",
            reason="damaged",
            measured=float(found.num_faults),
        )
    if found.num_not_finite:
        raise AudioUnreadable(
            f"{name}: is damaged: {found.num_not_finite} samples are no numbers. Encode the file again.",
            reason="samples_not_finite",
            measured=float(found.num_not_finite),
        )
    if found.num_wild > limits.max_wild_share * found.num_samples:
        raise AudioUnreadable(
            f"{name}: is damaged: {found.num_wild} samples are far louder than full scale. Save it with samples from "
            "-1 to 1.",
            reason="samples_out_of_range",
            measured=float(found.num_wild),
        )
