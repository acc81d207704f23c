"""The surrogate, a small stand-in for the final model: MIDI as tokens, windows of them, a transformer, its training.

In: MIDI files. Out: `Windows` of tokens, and trained surrogates (`Run`).
`tokens` and `windows` prepare the data, `network` is the model, `training` trains it. `scorable` is the interface that
scores need of any model, `forward` runs a model once over its examples, `histograms` counts notes. Importing this room
loads torch.
"""

from aria_data.surrogate.network import Surrogate, SurrogateConfig
from aria_data.surrogate.scorable import Examples, Scorable
from aria_data.surrogate.training import Run, train
from aria_data.surrogate.windows import Windows, make_windows

__all__ = ["Examples", "Run", "Scorable", "Surrogate", "SurrogateConfig", "Windows", "make_windows", "train"]
