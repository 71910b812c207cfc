"""Decoders by name: what each reads, and how it is made from settings."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from decoders import AttentionLSTMDecoder, Decoder, STaTSDecoder, TransformerDecoder
from stg.config.model import ModelConfig

BranchName = Literal["scene", "object"]


class DecoderSpec(NamedTuple):
    """How a decoder is made from settings.

    ``build`` takes the settings, the branch it is for, and the arguments that all decoders share. ``reads`` says which
    parts of a memory that decoder will learn from, frames included, and which setting (below ``model.``) asks for each.
    ``recurrent`` is True where it reads one word after another, and so can go on from its own. ``options`` names what
    it takes from ``model.options``, the settings of decoders of one's own.
    """

    build: Callable[[ModelConfig, BranchName, dict[str, Any]], Decoder]
    reads: Callable[[ModelConfig, BranchName], dict[str, str]]
    recurrent: bool = True
    options: tuple[str, ...] = ()


def _transformer(model: ModelConfig, branch: BranchName, shared: dict[str, Any]) -> Decoder:
    return TransformerDecoder(
        num_layers=model.layers,
        num_encoder_layers=model.layers,
        heads=model.heads,
        hidden=model.hidden,
        fusion=None if branch == "object" or model.views == "one" else model.views,
        gated=model.join == "gate",
        **shared,
    )


def _transformer_reads(model: ModelConfig, branch: BranchName) -> dict[str, str]:
    objects = {"objects": "join"} if model.join == "gate" else {}
    return {"frames": "decoder"} | ({"motion": "views"} if branch == "scene" and model.views != "one" else {}) | objects


def _stats(model: ModelConfig, branch: BranchName, shared: dict[str, Any]) -> Decoder:
    stats = model.stats
    return STaTSDecoder(
        # 256 and 128 at the paper's 512 channels.
        embedding=max(model.channels // 2, 1),
        attention=max(model.channels // 4, 1),
        # The branches see different things, so each names its own streams.
        streams=stats.scene_streams if branch == "scene" else stats.object_streams,
        order=stats.order,
        temporal=stats.st.temporal,
        spatial=stats.st.spatial,
        mean_join=stats.st.mean_join,
        rank_margin=stats.st.rank_margin,
        rank_l2=stats.st.rank_l2,
        selection=stats.ts.selection,
        at_test=stats.ts.at_test,
        top_k=stats.ts.top_k,
        temperature=stats.ts.temperature,
        summary=stats.ts.summary,
        visual=stats.visual,
        categories=stats.categories,
        category_use=stats.category_use,
        category_dropout=stats.category_dropout,
        **shared,
    )


def _stats_reads(model: ModelConfig, branch: BranchName) -> dict[str, str]:
    streams = model.stats.scene_streams if branch == "scene" else model.stats.object_streams
    reads: dict[str, str] = dict.fromkeys(streams, f"stats.{branch}_streams")
    return reads | ({"category": "stats.categories"} if model.stats.categories else {})


def _attention_lstm(model: ModelConfig, branch: BranchName, shared: dict[str, Any]) -> Decoder:
    return AttentionLSTMDecoder(
        embedding=model.channels,
        attention=model.channels,
        memory=_attended(model, branch),
        summary=_summary(model, branch),
        query_bias=model.attention_lstm.query_bias,
        **shared,
    )


def _attention_lstm_reads(model: ModelConfig, branch: BranchName) -> dict[str, str]:
    memory = {"none": [], "temporal": ["frames"], "spatial": ["regions"]}[_attended(model, branch)]
    summary = {"mean": "frames", "clip": "clip"}[_summary(model, branch)]
    asked = "attention_lstm.memory" if branch == "scene" else "attention_lstm.object_memory"
    return {summary: "attention_lstm.summary"} | dict.fromkeys(memory, asked)


def _attended(model: ModelConfig, branch: BranchName) -> Literal["none", "temporal", "spatial"]:
    settings = model.attention_lstm
    return settings.memory if branch == "scene" else settings.object_memory


def _summary(model: ModelConfig, branch: BranchName) -> Literal["clip", "mean"]:
    # The clip vector holds scene, motion and sound; the object branch is to see objects alone.
    return model.attention_lstm.summary if branch == "scene" else "mean"


DECODERS: dict[str, DecoderSpec] = {
    "transformer": DecoderSpec(_transformer, _transformer_reads, recurrent=False),
    "stats": DecoderSpec(_stats, _stats_reads),
    "attention_lstm": DecoderSpec(_attention_lstm, _attention_lstm_reads),
}
"""Name of a decoder, as ``--model.decoder`` takes it -> how it is built. A plugin adds its own."""
