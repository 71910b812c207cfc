"""From a clip to its features, and on into a store."""
