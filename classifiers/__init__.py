"""Is a span of sound clean solo piano? Train, evaluate and use the classifier without the rest of the project.

In: audio. Out: `WindowScores`: a probability a second, and one a quarter of a second. `aria_data.segment` makes
segments of them.

    from classifiers import Classifier

    scores = Classifier.load().score_file("recital.flac")
    print(scores.duration_s, scores.scores.mean(), scores.main_cause)

Importing this package loads nothing; the first use of `Classifier` loads NumPy, `Classifier.load` loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifiers.predict import Classifier as Classifier
    from classifiers.predict import WindowScores as WindowScores

__all__ = ["Classifier", "WindowScores"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from classifiers import predict

        return getattr(predict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
