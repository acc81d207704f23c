"""Which files to train on: scores, selectors, the table between them.

`scoring.py` scores every file once into a `ScoreTable`; `selectors.select` takes from it, as often as one likes, the
files that a budget allows, with their weights and the reason for each. docs/pruning.md says which to use when, and
what none of them can promise.
"""
