"""The classifier's network as a CPU computes it: norms within convolutions, the larger of those in 8-bit integers.

In: a trained `classifiers.model.PianoNet`, then frames. Out: its steps, up to rounding. Training and GPUs do without.
"""
