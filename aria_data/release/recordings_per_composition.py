"""Limit the number of recordings of each composition, by the classifier's score. Used for releases and for subsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def recordings_kept(rows: Iterable[Mapping[str, Any]], cap: int) -> set[str]:
    """Give the ids of at most `cap` recordings of each composition: those with the highest audio_score of a segment.

    `rows` have composition_id, recording_id, audio_score. A `cap` of 0 keeps all. Recordings without a known
    composition are all kept.
    """
    highest: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["composition_id"] or "", row["recording_id"]
        highest[key] = max(highest.get(key, 0.0), row["audio_score"] or 0.0)
    of_composition: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (composition_id, recording_id), score in highest.items():
        of_composition[composition_id].append((-score, recording_id))
    return {
        recording_id
        for composition_id, ranks in of_composition.items()
        for _, recording_id in sorted(ranks)[: cap if cap and composition_id else None]
    }
