"""A video-text embedding."""
