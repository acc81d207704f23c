"""Text from outside, made safe: cleaned, folded, freed of disguises and of words that speak to a language model."""

from aria_data.text.cleaning import clean, fold
from aria_data.text.prompt_injection import without_instructions
from aria_data.text.quotes import is_quoted, trim_quote

__all__ = ["clean", "fold", "is_quoted", "trim_quote", "without_instructions"]
