"""Why a model said a word, as arrays."""
