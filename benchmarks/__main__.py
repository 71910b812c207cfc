"""``python -m benchmarks NAME [--quick]``: measure one thing, print a table, write ``benchmarks/results/NAME.json``."""

import argparse
from importlib import import_module

BENCHMARKS = {
    "convolution": "the graph convolution against dense, gather-scatter and GCNConv",
    "edges": "building edges against a loop over frames",
    "store": "reading batches from the store against pickle, .pt and safetensors",
    "training": "a training step of each decoder against the Transformer",
    "decoding": "cached search against running the whole prefix again",
    "rewards": "a step of training on rewards, part by part, beside the usual CIDEr-D",
    "scores": "scores and rewards against pycocoevalcap",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure against named rivals.",
        epilog="; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items()),
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--quick", action="store_true", help="small sizes, only to see that the rivals' results agree")
    options = parser.parse_args()
    import_module(f"benchmarks.{options.name}").main(quick=options.quick)


if __name__ == "__main__":
    main()
