"""Compare subsets by training: the same small model on each, beside random files of the same number, with intervals.

In: windows and subsets of their files. Out: a `Comparison`, and a report of it.
`arms` are what is trained on, `training_runs` train, `differences` and `comparison` say what the losses mean.
Importing this room loads torch.
"""

from aria_data.compare.arms import Arm, Subset
from aria_data.compare.compare_arms import CompareConfig, compare
from aria_data.compare.comparison import Comparison

__all__ = ["Arm", "CompareConfig", "Comparison", "Subset", "compare"]
