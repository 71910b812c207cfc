"""The graphs of a store with rebuilt edges, sharper or fewer than the papers', in a store of their own."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graphs import GraphData, GraphStore, draw_paper_edges
from stg.config.schema import describe, differences, from_dict
from stg.config.store import EdgeConfig
from stg.runtime.errors import UserError
from stg.runtime.reading import counted
from stg.runtime.reporter import SILENT, Reporter

CHUNK = 64
"""Graphs that one transaction takes."""


def recorded_edges(manifest: Mapping[str, Any]) -> EdgeConfig:
    """How the edges of the graphs of a manifest were made.

    Raises:
        UserError: the manifest names edges that this version does not know.
    """
    try:
        return from_dict(EdgeConfig, manifest.get("edges", {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"the graphs have edges that this version cannot draw: {manifest['edges']!r}") from error


def rebuild_edges(source: GraphStore, target: GraphStore, edges: EdgeConfig, reporter: Reporter = SILENT) -> None:
    """Copy all graphs of ``source`` into ``target``, with other edges; what is there already is not done again.

    The choice goes into the manifest under ``edges``, so that models trained on either refuse the other. Cosines are
    those of the stored features: in float16 they differ from the extractor's in the last digits.

    Raises:
        UserError: ``target`` holds something else, or ``source`` has fields by edge.
    """
    if of_edges := [name for name, field in source.free_fields.items() if field.axis == "edge"]:
        names = ", ".join(of_edges)
        raise UserError(
            f"{source.path} keeps {names} of each edge, which edges that are drawn now do not have: make a store "
            f"without {names} first"
        )
    manifest = {**source.manifest, "edges": asdict(edges)}
    # Before the store itself refuses it, which does not know what --out is.
    if len(target) and (differing := differences(target.manifest, manifest)):
        listed = describe(differing, "{old!r} there, now {new!r}")
        raise UserError(f"{target.path} holds other graphs ({listed}): choose another --out")
    target.require_manifest(manifest)
    target.state_versions(*source.versions)

    def draw(graph: GraphData) -> GraphData:
        draw_paper_edges(graph, **edges.arguments)
        return graph

    # A stopped call is resumed by the same command.
    waiting = [video for video in source if video not in target]
    before = len(target)
    with reporter.bar("drawing edges") as progress:
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            target.put_many((video, draw(source.get(video))) for video in chunk)
            progress(start + len(chunk), len(waiting))
    reporter.say(f"{target.path}: {counted(len(waiting), 'graph')} with other edges added, {before} there before")
