"""Whether a score looks at the probe, or names the same files whatever it is asked about.

Influence is to find the files that one probe needs. Where the highest files of all probes are the same, it measured
something of the files alone, such as the length of their gradients (Barshan et al. 2020 saw the same outliers for most
of their queries), and another probe would not change a selection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOP_SHARE = 0.1  # of the files: those a probe retrieves
SAME = 0.5  # of them in common: from it on a score is flagged; ours. By chance 0.1, influence on ASAP 0.17 (LOG.md)
MIN_PROBES, MIN_TOP = 2, 3


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How much the probes' highest files are the same."""

    overlap: float  # mean share that two probes have in common, 0 to 1
    by_chance: float
    num_probes: int

    @property
    def is_same_for_all(self) -> bool:
        """Whether a probe hardly matters."""
        return self.overlap >= SAME

    @property
    def text(self) -> str:
        """The finding in one sentence."""
        return (
            f"the highest tenths for {self.num_probes} probes have {self.overlap:.0%} in common (by chance "
            f"{self.by_chance:.0%})"
        )


def retrieval_of(values: np.ndarray) -> Retrieval | None:
    """Compare what probes retrieve. `values` are (files, probes), high = retrieved; None where too few are known.

    Files with a value that is not a number for any probe are left out.
    """
    known = values[np.isfinite(values).all(axis=1)]
    num_top = round(TOP_SHARE * len(known))
    if num_top < MIN_TOP or values.shape[1] < MIN_PROBES:
        return None
    order = np.argsort(-known, axis=0, kind="stable")[:num_top]
    is_top = np.zeros(known.shape)
    np.put_along_axis(is_top, order, 1.0, axis=0)
    in_common = is_top.T @ is_top / num_top
    pairs = in_common[np.triu_indices(len(in_common), 1)]
    return Retrieval(float(pairs.mean()), num_top / len(known), len(in_common))
