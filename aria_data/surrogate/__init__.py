"""A small model that stands in for the model to come: MIDI as tokens, windows of them, a transformer, its training.

In: MIDI files. Out: trained surrogates, and what a model must offer to be scored (`scorable`).
Importing this room loads torch.
"""

from aria_data.surrogate.network import Surrogate, SurrogateConfig
from aria_data.surrogate.scorable import Examples, Scorable
from aria_data.surrogate.training import Run, train
from aria_data.surrogate.windows import Windows, make_windows

__all__ = ["Examples", "Run", "Scorable", "Surrogate", "SurrogateConfig", "Windows", "make_windows", "train"]
