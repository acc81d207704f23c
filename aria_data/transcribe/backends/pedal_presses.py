"""Presses of the sustain pedal: the likeliest path through "up" and "down", by what a network says of every frame."""

from __future__ import annotations

import numpy as np

MOVE_WEIGHT = 1.0  # how much a frame's logit of going down or up counts where the path changes
MOVE_COST = 1.0  # of a change, in nats: chosen on pianos and pieces that nothing was trained on


def presses(logits: np.ndarray) -> list[tuple[int, int]]:
    """Give (first frame down, first frame up again) of every press.

    `logits` is (frames, 3): down, going down, going up, as `transkun_heads.PedalHead` gives them.
    """
    down = logits[:, 0].tolist()
    going_down, going_up = (MOVE_WEIGHT * logits[:, column] - MOVE_COST for column in (1, 2))
    best_up, best_down = 0.0, -MOVE_COST
    came_down: list[bool] = []  # whether the best path that is down here was up in the frame before
    came_up: list[bool] = []
    for score, press, lift in zip(down, going_down.tolist(), going_up.tolist(), strict=True):
        pressed, lifted = best_up + press, best_down + lift
        came_down.append(pressed > best_down)
        came_up.append(lifted > best_up)
        best_up, best_down = max(best_up, lifted), max(best_down, pressed) + score
    return _followed(came_down, came_up, best_down > best_up)


def _followed(came_down: list[bool], came_up: list[bool], is_down: bool) -> list[tuple[int, int]]:
    """Follow the path back from its end."""
    found, end = [], len(came_down)
    for frame in range(len(came_down) - 1, -1, -1):
        if is_down and came_down[frame]:
            found.append((frame, end))
            is_down = False
        elif not is_down and came_up[frame]:
            end, is_down = frame, True
    if is_down:
        found.append((0, end))
    return found[::-1]
