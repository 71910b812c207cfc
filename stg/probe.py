"""Classify the events of the built-in world by each branch and each variant of the graph.

A caption needs more than the event: who does it, and words. Here each branch of the captioner predicts the event
alone, over several seeds: the scene branch, and the graph branch with no edges, spatial, temporal, dense or all edges.
Results go to --out as they come (results.jsonl; the same command resumes), then as table.md, table.json and table.svg.
"""

from stg.commands.parser import command
from stg.config.probe import ProbeConfig


def main(config: ProbeConfig) -> int:
    """The command."""
    from stg.commands.probe import main as run

    return run(config)


if __name__ == "__main__":
    command("probe", ProbeConfig, main, __doc__ or "", resumes=True)
