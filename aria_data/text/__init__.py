"""Text from outside, made safe: cleaned, folded, de-obfuscated, and without prompt injections.

In: any text from outside. Out: text of bounded length that is safe to compare, to show or to put before a model.

`cleaning` bounds, normalises and folds. `prompt_injection` removes instructions to a language model, also those that
only `deobfuscation` makes readable; `injection_lists` passes most texts at a glance. `quotes` checks that a model's
quote is in the text. `reader_process` runs readers of others, which may need for ever, where they can be ended.
"""

from aria_data.text.cleaning import clean, fold
from aria_data.text.prompt_injection import without_instructions
from aria_data.text.quotes import is_quoted, trim_quote
from aria_data.text.repair import repaired

__all__ = ["clean", "fold", "is_quoted", "repaired", "trim_quote", "without_instructions"]
