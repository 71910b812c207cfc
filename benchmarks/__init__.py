"""Speed and memory against named rivals, measured in one run: ``python -m benchmarks NAME``."""
