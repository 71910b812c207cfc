"""Speed and memory against named rivals, measured in one run: ``python -m benchmarks [NAME ...]``."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
"""Where each benchmark's JSON file lies."""
