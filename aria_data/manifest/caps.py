"""So many recordings of each composition, the surest first. Used at release and at query time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def recordings_kept(rows: Iterable[Mapping[str, Any]], cap: int) -> set[str]:
    """Give the recording_ids that stand for their composition: the `cap` with the surest segment, all for 0.

    `rows` have composition_id, recording_id, audio_score. Recordings of no known composition are all kept.
    """
    surest: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["composition_id"] or "", row["recording_id"]
        surest[key] = max(surest.get(key, 0.0), row["audio_score"] or 0.0)
    of_composition: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (composition_id, recording_id), score in surest.items():
        of_composition[composition_id].append((-score, recording_id))
    return {
        recording_id
        for composition_id, ranks in of_composition.items()
        for _, recording_id in sorted(ranks)[: cap if cap and composition_id else None]
    }
