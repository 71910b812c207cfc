"""Stores and batches."""
