"""Words: tokens, vocabulary, parts of speech, counts."""
