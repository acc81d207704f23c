"""Choose what to train on: scores of five papers (GraNd, EL2N, VoG, influence + effort, and more), and selectors.

In: a model and its training files, or scores. Out: a `ScoreTable`; from `select` a `Selection`: files, weights, why.
`scores` (one network), `over_time` (checkpoints) and `influence` (a probe) make scores; `columns` brings all to "high =
keep"; `seeds` and `scoring` run several networks. `selectors` choose, `sampling` is a choice while it is made.
What is handed on here loads no torch.
"""

from aria_data.pruning.budgets import Budget
from aria_data.pruning.score_table import ScoreTable
from aria_data.pruning.selection import Pool, SelectConfig, Selection
from aria_data.pruning.selection_report import report_of
from aria_data.pruning.selectors import select

__all__ = ["Budget", "Pool", "ScoreTable", "SelectConfig", "Selection", "report_of", "select"]
