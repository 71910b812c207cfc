"""A video-text embedding."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.retrieval.embedding import EmbeddingBundle

__all__ = ["EmbeddingBundle"]

__getattr__ = lazy_names(__name__, embedding="EmbeddingBundle")
