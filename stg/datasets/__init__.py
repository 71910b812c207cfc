"""Data sets: videos, their captions and their splits."""
