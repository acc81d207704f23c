"""Compare subsets by training the same small model on each, and on as many random files, with confidence intervals.

In: windows of tokens and subsets of their files. Out: a `Comparison`, and a report of it.
`arms` has what is trained on, `training_runs` trains and tests, `differences` computes intervals of the losses,
`frechet` how far files lie from those tested on, without training. `comparison` arranges all in rows,
`comparison_report` shows them. `compare_arms` runs all of it.
Beside that, `attribution_check` checks influence against training: `attribution` says which file lowers the loss of
which, `datamodel` how well that foretold it, `check_report` shows it.
Importing this room loads torch.
"""

from aria_data.compare.arms import Arm, Subset
from aria_data.compare.compare_arms import CompareConfig, compare
from aria_data.compare.comparison import Comparison

__all__ = ["Arm", "CompareConfig", "Comparison", "Subset", "compare"]
