"""The classifier of clean solo piano: train, evaluate and use it without the rest of the project.

In: audio. Out: probabilities of solo piano over time; nothing is decided or rejected here. Importing this package loads
no library; `from classifiers.predict import Classifier` does.
"""
