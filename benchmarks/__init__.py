"""Speed and memory against named rivals, measured in one run: ``python -m benchmarks [NAME ...]``."""

import os
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
"""Where each benchmark's JSON file lies."""

SHARED = Path(os.environ.get("STG_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CLIPS = SHARED / "data" / "cad120" / "clips.json.gz"
"""Where the clips of CAD-120 are expected, which the benchmark ``activity`` reads."""
