"""Words: tokens, vocabulary, parts of speech, counts."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.text.tokenizer import tokenize
    from stg.text.vocabulary import Vocabulary

__all__ = ["Vocabulary", "tokenize"]

__getattr__ = lazy_names(__name__, tokenizer="tokenize", vocabulary="Vocabulary")
