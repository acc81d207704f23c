"""Mix any channels to one or two by what sounds: channels that cancel each other are turned, none is lost.

A right channel that is the left one upside down gives silence when both are added; an ambisonic recording, or an odd
set of loudspeakers, has no fixed rule. What was heard so far decides, so every reading of a file mixes alike.
"""

from __future__ import annotations

import numpy as np

HALF_POWER = np.float32(0.70710677)  # FFmpeg's weights, which keep the power of two unlike channels
MEMORY = 0.96  # a block: the last 8 s count most
TURNED, TURNED_BACK = (
    -0.7,
    -0.3,
)  # correlation of a channel with the loudest, under which it is turned, and over which not
MIN_SHARE = 1e-3  # of the loudest channel's power: what is quieter does not sound
MIN_KEPT = 0.05  # of the loudest channel's power that a fixed mix must keep

# (left, right) of loudspeakers, as FFmpeg weighs them; LFE, the bass alone, is left out
LEFT, RIGHT, BOTH = (1.0, 0.0), (0.0, 1.0), (0.70710677, 0.70710677)
SIDE_LEFT, SIDE_RIGHT, BACK = (0.70710677, 0.0), (0.0, 0.70710677), (0.5, 0.5)
SPEAKERS = {"FL": LEFT, "FR": RIGHT, "FC": BOTH, "DL": LEFT, "DR": RIGHT, "LFE": (0.0, 0.0), "BC": BACK}
SPEAKERS |= {"BL": SIDE_LEFT, "SL": SIDE_LEFT, "BR": SIDE_RIGHT, "SR": SIDE_RIGHT, "FLC": LEFT, "FRC": RIGHT}


class Downmix:
    """Mixes blocks of shape (num_samples, channels), in order from a file's first, to `width` channels, 1 or 2.

    `names` are FFmpeg's of the channels, `layout` its name of them all.
    """

    def __init__(self, names: list[str], layout: str, width: int):
        self.width = width
        self._fixed = _weights(names, layout)
        self._power = np.zeros((len(names), len(names)))
        self._is_turned = np.zeros(len(names), bool)

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Mix one block; its samples are finite."""
        num_channels = block.shape[1]
        if num_channels == 1:
            return block if self.width == 1 else np.repeat(block * HALF_POWER, 2, axis=1)
        if num_channels == 2:
            return self._of_two(block)
        wide = block.astype(np.float64)
        self._listen(wide.T @ wide)
        weights = self._fixed if self._fixed is not None and self._keeps_enough(self._fixed) else self._by_sound()
        if self.width == 1:
            weights = weights.sum(axis=1, keepdims=True) * HALF_POWER
        return block @ weights.astype(np.float32)

    def _of_two(self, block: np.ndarray) -> np.ndarray:
        left, right = np.ascontiguousarray(block.T)  # steps along a channel are several times as fast then
        both = _product(left, right)
        self._listen(np.array([[_product(left, left), both], [both, _product(right, right)]]))
        is_turned = self._is_turned[0] != self._is_turned[1]
        if self.width == 2:
            return np.stack([left, -right if is_turned else right], axis=1)
        return (left * HALF_POWER + (-right if is_turned else right) * HALF_POWER)[:, None]

    def _listen(self, power: np.ndarray) -> None:
        """Take the products of a block's channels with each other, (channels, channels)."""
        self._power = MEMORY * self._power + power
        loud = np.diag(self._power)
        loudest = int(loud.argmax())
        if loud[loudest] <= 0:
            return
        scale = np.sqrt(loud[loudest] * np.maximum(loud, MIN_SHARE * loud[loudest]))
        likeness = self._power[loudest] / scale
        self._is_turned = np.where(likeness < TURNED, True, np.where(likeness > TURNED_BACK, False, self._is_turned))

    def _keeps_enough(self, weights: np.ndarray) -> bool:
        mono = weights.sum(axis=1) * float(HALF_POWER)
        loudest = float(np.diag(self._power).max())
        return float(mono @ self._power @ mono) >= MIN_KEPT * loudest

    def _by_sound(self) -> np.ndarray:
        """The mean of the channels that sound, those that oppose the loudest turned; the same left and right."""
        loud = np.diag(self._power)
        sounds = loud >= MIN_SHARE * loud.max(initial=0.0)
        mean = np.where(self._is_turned, -1.0, 1.0) * sounds / max(1, int(sounds.sum()))
        return np.repeat(mean[:, None] * float(HALF_POWER), 2, axis=1)


def _product(one: np.ndarray, other: np.ndarray) -> float:
    """Give the sum of products, in this thread: `@` wakes others, which cost more than they help."""
    return float(np.einsum("i,i->", one, other))


def _weights(names: list[str], layout: str) -> np.ndarray | None:
    """Give a layout's weights, shape (channels, 2); None where none are fixed."""
    if layout.startswith("ambisonic"):  # the first channel is all directions, the second left minus right
        weights = np.zeros((len(names), 2))
        weights[0], weights[1] = (0.70710677, 0.70710677), (0.5, -0.5)
        return weights
    if len(set(names)) < len(names) or not set(names) <= set(SPEAKERS):
        return None
    return np.array([SPEAKERS[name] for name in names])
