"""Read tags out of texts: composer, performer, composition, form, key, each with the words it was read from.

In: title, description, uploader, tags. Out: `Annotation`s.
Rejects nothing.

`credits` says who wrote and who plays, `parts` which work and which part of it; `model_tags` asks a language model.
What is known of music lies in `aria_data.repertoire`.
"""

from aria_data.annotate.annotation import AnnotateConfig, annotate, annotate_many

__all__ = ["AnnotateConfig", "annotate", "annotate_many"]
