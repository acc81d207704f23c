"""Is this span of sound clean solo piano? Train, evaluate and use the classifier without the rest of the project.

Importing this package loads nothing: `from classifiers.predict import Classifier` does.
"""
