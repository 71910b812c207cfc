"""The graphs of a store with other edges, or with tracks, in a store of their own; nothing is extracted again."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from graphs import (
    EDGE_TYPES,
    FlatBatch,
    GraphData,
    GraphStore,
    VideoFeatures,
    draw_paper_edges,
    flat_graph,
    link_tracks,
    pad_frames,
)
from stg.config.schema import describe, differences, from_dict
from stg.config.store import EdgeConfig, TrackConfig
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


def recorded_tracks(manifest: Mapping[str, Any]) -> TrackConfig | None:
    """How the tracks of the graphs of a manifest were made; None where they have none that were made here.

    Raises:
        UserError: the manifest names options that this version does not know.
    """
    if "tracks" not in manifest:
        return None
    try:
        return from_dict(TrackConfig, manifest["tracks"])
    except (TypeError, ValueError) as error:
        raise UserError(f"the graphs have tracks that this version cannot make: {manifest['tracks']!r}") from error


def add_tracks(graph: GraphData, tracks: TrackConfig) -> None:
    """Write the track of each object into the graph of one video, over those that are there.

    Raises:
        UserError: objects of one class are to be joined, and the graph has no classes.
    """
    label = graph["label"] if tracks.same_label and "label" in graph else None
    # A video without objects, as models that read frames alone see all clips, has no classes and needs none.
    if tracks.same_label and label is None and len(graph.boxes):
        raise UserError("--same_label true joins objects of one class, and these graphs have none: leave it out")
    options = {name: value for name, value in asdict(tracks).items() if name != "same_label"}
    graph.track = link_tracks(graph.boxes, graph.x, graph.frame, label=label, **options)


def graph_as_recorded(features: VideoFeatures, manifest: Mapping[str, Any]) -> FlatBatch:
    """The graph of a video with the edges, and the tracks if any, that the graphs of a manifest have.

    Raises:
        UserError: the manifest names what this version does not know.
    """
    edges = recorded_edges(manifest)
    graph = flat_graph(features, **edges.arguments)
    if (tracks := recorded_tracks(manifest)) is not None:
        add_tracks(graph, tracks)
    # After the tracks, which pads are on none of.
    if edges.pad_objects is not None:
        _draw(graph, edges)
    return graph


def rebuild_edges(source: GraphStore, target: GraphStore, edges: EdgeConfig, reporter: Reporter = SILENT) -> None:
    """Copy all graphs of ``source`` into ``target``, with other edges; what is there already is not done again.

    The choice goes into the manifest under ``edges``, so that models trained on either refuse the other. Cosines are
    those of the stored features: in float16 they differ from the extractor's in the last digits.

    Raises:
        UserError: ``target`` holds something else, or ``source`` has fields by edge; pads are asked for, and it has
            fields by object or other kinds of edges; or its frames are filled up otherwise.
    """
    if of_edges := [name for name, field in source.free_fields.items() if field.axis == "edge"]:
        names = ", ".join(of_edges)
        raise UserError(
            f"{source.path} keeps {names} of each edge, which edges that are drawn now do not have: make a store "
            f"without {names} first"
        )

    _require_padding(source, edges.pad_objects)
    of_nodes = [name for name, field in source.free_fields.items() if field.axis == "node"]
    if of_nodes and edges.pad_objects is not None:
        names = ", ".join(of_nodes)
        raise UserError(f"{source.path} keeps {names} of each object, which pads have not: leave --pad_objects out")
    # Stores of before this option do not name it.
    chosen = {name: value for name, value in asdict(edges).items() if name != "pad_objects" or value is not None}
    _copy_changed(
        source, target, {"edges": chosen}, lambda graph: _draw(graph, edges), ("drawing edges", "other edges"), reporter
    )


def _require_padding(source: GraphStore, count: int | None) -> None:
    """Pads cannot be distinguished from objects later: what is made of a store with them keeps them."""
    there = recorded_edges(source.manifest).pad_objects
    if there not in (None, count):
        raise UserError(
            f"the frames in {source.path} are filled up to {there} objects already: begin with the store that it was "
            "made of"
        )


def _draw(graph: GraphData, edges: EdgeConfig) -> None:
    if edges.pad_objects is not None:
        if bool((graph.edge_type > EDGE_TYPES["temporal"]).any()):
            raise UserError("these graphs have edges of other kinds, which pads would break: leave --pad_objects out")
        pad_frames(graph, edges.pad_objects)
    draw_paper_edges(graph, **edges.arguments)


def track_objects(source: GraphStore, target: GraphStore, tracks: TrackConfig, reporter: Reporter = SILENT) -> None:
    """Copy all graphs of ``source`` into ``target``, with the track of each object; all else stays as it is.

    The choice goes into the manifest under ``tracks``. Models that were trained without tracks take such a store too.

    Raises:
        UserError: ``target`` holds something else, or objects of one class are to be joined and there are no classes.
    """

    _require_padding(source, None)

    def track(graph: GraphData) -> None:
        add_tracks(graph, tracks)

    _copy_changed(source, target, {"tracks": asdict(tracks)}, track, ("joining objects to tracks", "tracks"), reporter)


def _copy_changed(
    source: GraphStore,
    target: GraphStore,
    entry: Mapping[str, Any],
    change: Callable[[GraphData], None],
    words: tuple[str, str],
    reporter: Reporter,
) -> None:
    manifest = {**source.manifest, **entry}
    # Before the store itself refuses it, which does not know what --out is.
    if len(target) and (differing := differences(target.manifest, manifest)):
        listed = describe(differing, "{old!r} there, now {new!r}")
        raise UserError(f"{target.path} holds other graphs ({listed}): choose another --out")
    target.require_manifest(manifest)
    target.state_versions(*source.versions)

    def changed(graph: GraphData) -> GraphData:
        change(graph)
        return graph

    # A stopped call is resumed by the same command.
    waiting = [video for video in source if video not in target]
    before = len(target)
    title, what = words
    with reporter.bar(title) as progress:
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            target.put_many((video, changed(source.get(video))) for video in chunk)
            progress(start + len(chunk), len(waiting))
    reporter.say(f"{target.path}: {counted(len(waiting), 'graph')} with {what} added, {before} there before")
