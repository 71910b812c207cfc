"""Ablations: the papers' tables and grids of one's own as runs that differ in one setting, and what they come to."""
