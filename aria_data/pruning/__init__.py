"""Choose what to train on: scores of five papers (GraNd, EL2N, VoG, influence + effort, and more), and selectors.

In: a model and its training files, or scores. Out: a `ScoreTable`; from `select` a `Selection` (files, weights, why).
`scores` (one network), `over_time` (checkpoints) and `influence` (a probe) compute scores; `columns` turns them all to
"high = keep"; `seeds` and `scoring` run several networks. `selectors` has the methods, `sampling` the state of a
selection while a method runs, `random_keys` the permanent random numbers. The names imported here load no torch.
"""

from aria_data.pruning.budgets import Budget
from aria_data.pruning.score_table import ScoreTable
from aria_data.pruning.selection import Pool, SelectConfig, Selection
from aria_data.pruning.selection_report import report_of
from aria_data.pruning.selectors import select

__all__ = ["Budget", "Pool", "ScoreTable", "SelectConfig", "Selection", "report_of", "select"]
