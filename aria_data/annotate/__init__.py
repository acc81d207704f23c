"""Read annotations from texts: composer, performer, composition, form, key, each with the words it was read from.

In: title, description, uploader, tags. Out: `Annotation`s.
Rejects nothing.

`credits` finds composer and performer (with `performers`), `composition_id` the work and the part of it; `readings`
collects what was found. `model_tags` asks a language model instead. `aria_data.repertoire` knows the music.
"""

from aria_data.annotate.annotation import AnnotateConfig, annotate, annotate_many

__all__ = ["AnnotateConfig", "annotate", "annotate_many"]
