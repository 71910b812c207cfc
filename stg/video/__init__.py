"""Decoding of clips; never torch."""
