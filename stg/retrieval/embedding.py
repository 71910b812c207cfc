"""A space in which videos lie near their captions: VSE++ (Faghri et al., 2018), as Chen et al. (2019) rank by it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence

import graphs
from decoders import mean_of_real
from graphs import GraphData, GraphSource, GraphStore
from stg.config.model import GraphConfig
from stg.config.plugins import plugin_record
from stg.config.retrieval import EmbeddingConfig
from stg.config.schema import from_dict, to_dict
from stg.data.feature_check import Versions, check_features, versions_record
from stg.models.feature_kinds import FEATURES, FeatureWidths, feature
from stg.models.memory import ClipVector
from stg.models.statistics import Standardise
from stg.runs.model_file import DAMAGED, check_parts, check_plugins
from stg.runs.tensors import CheckpointError, building_for, load_tensors, save_tensors
from stg.text.vocabulary import PAD, Vocabulary

FORMAT, VERSION = "stg-embedding", 1
EMBEDDING_FILE = "embedding.safetensors"


class VideoEncoder(nn.Module):
    """One vector for a video: from the means of its features, from its object graph, or the sum of both.

    VSE++ has a linear layer over the features of one picture; means over time take its place here. The graph is
    this project's addition.

    Args:
        clip: the means of scene, motion and sound through a linear layer, or None.
        objects: encoder of the object graph, whose frames with objects are averaged, or None.
        channels: width ``D`` of the vector, which ``clip`` gives, too.
        dropout: of the mean of the graph's frames.
        standardise: by batch field, what standardises it first.

    Raises:
        ValueError: neither is given.
    """

    def __init__(
        self,
        clip: ClipVector | None,
        objects: "graphs.STGEncoder | None",
        channels: int = 256,
        *,
        dropout: float = 0.0,
        standardise: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__()
        if clip is None and objects is None:
            raise ValueError("a video encoder needs a clip vector, a graph encoder, or both; got neither")
        self.clip, self.objects, self.standardise = clip, objects, standardise
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(objects.project.out_features, channels) if objects is not None else None

    def forward(self, batch: GraphData) -> Float[Tensor, "B D"]:
        if self.standardise is not None:
            # A shallow copy: the caller's batch keeps its features as they are.
            batch = copy.copy(batch)
            for name, function in self.standardise.items():
                batch[name] = function(feature(batch, name))
        parts = [self.clip(batch)] if self.clip is not None else []
        if self.objects is not None and self.project is not None:
            _, frames, mask = self.objects(
                feature(batch, "x"), batch.frame, batch.edge_index, batch.edge_weight, batch.batch, batch.num_frames
            )
            # The mean over frames that have objects [B C]; a video without any gives zeros.
            parts.append(self.project(self.dropout(mean_of_real(frames, mask, 1))))
        return sum(parts[1:], parts[0])


class TextEncoder(nn.Module):
    """One vector for a caption: a GRU over its words (Faghri et al., 2018, Sec. 4.1), read from both ends.

    The last states of both directions are averaged and go through a linear layer, which VSE++ has not; its GRU reads
    forward alone.

    Args:
        vocabulary: number of words.
        words: width of a word.
        hidden: width of the GRU, in each direction.
        channels: width ``D`` of the vector.
        bidirectional: whether to read backward, too.
        dropout: of words and of the averaged states.
    """

    def __init__(
        self,
        vocabulary: int,
        words: int = 300,
        hidden: int = 256,
        channels: int = 256,
        *,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, words, padding_idx=PAD)
        self.gru = nn.GRU(words, hidden, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(hidden, channels)

    def forward(self, words: Int[Tensor, "W L"], lengths: Int[Tensor, " W"]) -> Float[Tensor, "W D"]:
        """Encode captions; one without any word becomes the zero vector.

        Args:
            words: ``[W L]`` without sentence marks, padded at the end; ``L`` is at least 1.
            lengths: ``[W]`` real words of each.
        """
        # The packing wants lengths on the CPU, and none of 0.
        kept = lengths.clamp(min=1).cpu()
        packed = pack_padded_sequence(self.dropout(self.embedding(words)), kept, batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.project(self.dropout(last.mean(0))) * (lengths > 0)[:, None]


class VideoTextEmbedding(nn.Module):
    """Videos and captions as unit vectors, whose cosine says how well they fit (Faghri et al., 2018, Eq. 1 to 3).

    Pass the encoders, so that either can be one's own.
    """

    def __init__(self, video: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.video, self.text = video, text

    def videos(self, batch: GraphData) -> Float[Tensor, "B D"]:
        """Unit vectors of the videos of a flat batch; a zero vector stays zero."""
        return normalize(self.video(batch), dim=-1)

    def texts(self, words: Int[Tensor, "W L"], lengths: Int[Tensor, " W"]) -> Float[Tensor, "W D"]:
        """Unit vectors of captions (see `TextEncoder.forward`); a zero vector stays zero."""
        return normalize(self.text(words, lengths), dim=-1)


def build_embedding(
    config: EmbeddingConfig, graph: GraphConfig, *, widths: FeatureWidths, vocabulary: int
) -> VideoTextEmbedding:
    """From settings to an embedding.

    Raises:
        ValueError: the features that ``config.video`` reads are not there.
    """
    clip = objects = None
    read: list[str] = []
    if "mean" in config.video:
        clip = ClipVector(widths.scene, widths.motion, widths.audio, config.channels)
        read += sorted(clip.requires)
    if "graph" in config.video:
        if not widths.objects:
            raise ValueError(f"model.video {config.video} needs object features: extract with {FEATURES['x'].options}")
        objects = graphs.STGEncoder(widths.objects, config.channels, graph.layers)
        read.append("x")
    # Only of what is read: statistics of other features would be taken for nothing.
    standardise = nn.ModuleDict({name: Standardise(getattr(widths, FEATURES[name].kind)) for name in read})
    video = VideoEncoder(clip, objects, config.channels, dropout=config.dropout, standardise=standardise)
    text = TextEncoder(
        vocabulary,
        config.words,
        config.hidden,
        config.channels,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
    )
    return VideoTextEmbedding(video, text)


def pad_texts(captions: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "W L"], Int[Tensor, " W"]]:
    """Captions of `stg.text.vocabulary.Vocabulary.encode` as (words, lengths) without their sentence marks."""
    bare = [torch.tensor(caption[1:-1], dtype=torch.int64) for caption in captions]
    lengths = torch.tensor([len(words) for words in bare], dtype=torch.int64)
    # One row more, dropped at the end, so that the width is at least 1 when all captions are empty.
    words = nn.utils.rnn.pad_sequence([*bare, torch.zeros(1, dtype=torch.int64)], batch_first=True, padding_value=PAD)
    return words[:-1], lengths


@dataclass(frozen=True)
class EmbeddingBundle:
    """A trained embedding with all that is needed to use it.

    Attributes:
        embedding: the encoders.
        vocabulary: the words that it reads.
        model, graph: the settings it was built from.
        widths: the widths of the features.
        features: the manifest of those features; others are refused.
        features_dtype: what they were rounded to in the store.
        control: ``shuffle`` where it was trained on the features of other videos, which no choice should rest on.
        made_with: versions that made the features, as in :attr:`graphs.GraphStore.versions`.
    """

    embedding: VideoTextEmbedding
    vocabulary: Vocabulary
    model: EmbeddingConfig
    graph: GraphConfig
    widths: FeatureWidths
    features: Mapping[str, Any]
    features_dtype: str = "float16"
    control: str = "none"
    made_with: Sequence[Versions] = ()

    @property
    def edges(self) -> dict[str, Any]:
        """The edges that are read, as arguments of a store's ``batch``; none where no graph is read."""
        reads_graph = "graph" in self.model.video
        return {"variant": self.graph.variant if reads_graph else "none", "time_flow": self.graph.time_flow}

    def check(self, store: GraphStore) -> None:
        """Refuse a store whose features were made otherwise than the ones this embedding was trained on.

        Raises:
            UserError: names the fields that differ, with both values.
        """
        check_features(self.features, store, "embedding")

    @torch.inference_mode()
    def similarity(
        self,
        store: GraphSource,
        candidates: Mapping[str, Sequence[str]],
        device: torch.device | str = "cpu",
        *,
        batch_videos: int = 64,
    ) -> dict[str, list[float]]:
        """The cosine of each candidate text with its video, in the order given; 0 for a text without any word.

        Args:
            store: where the videos' features are, all of ``candidates``.
            candidates: video -> texts.
        """
        model = self.embedding.to(device).eval()
        found: dict[str, list[float]] = {}
        videos = list(candidates)
        for start in range(0, len(videos), batch_videos):
            chosen = videos[start : start + batch_videos]
            counts = [len(candidates[video]) for video in chosen]
            words, lengths = pad_texts([self.vocabulary.encode(text) for video in chosen for text in candidates[video]])
            # None of these videos has a candidate: an empty batch has no length to pad to.
            if not len(lengths):
                found |= {video: [] for video in chosen}
                continue
            vectors = model.videos(store.flat_batch(chosen, **self.edges).to(device))
            # Each candidate meets its own video only: [W D] against [W D], no matrix of all pairs.
            own = vectors.repeat_interleave(torch.tensor(counts, device=vectors.device), 0)
            cosines = (own * model.texts(words.to(device), lengths.to(device))).sum(-1).cpu().split(counts)
            found |= {video: part.tolist() for video, part in zip(chosen, cosines, strict=True)}
        return found

    def save(self, path: Path) -> None:
        """Write the embedding to one file, atomically and with a checksum; into a folder, under its usual name."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "model": to_dict(self.model),
            "graph": to_dict(self.graph),
            "widths": asdict(self.widths),
            "vocabulary": self.vocabulary.to_json(),
            "features": dict(self.features),
            "features_dtype": self.features_dtype,
            "control": self.control,
        }
        # Whoever opens it later is asked for them by name.
        save_tensors(
            _file(path), self.embedding.state_dict(), header | versions_record(self.made_with) | plugin_record()
        )

    @classmethod
    def load(cls, path: str | Path) -> "EmbeddingBundle":
        """Read a saved embedding (a file, or the folder that stg.embed printed), ready for use.

        Raises:
            CheckpointError: the file is missing, damaged, of another kind or version, or its weights do not fit its
                settings.
        """
        path = _file(Path(path))
        tensors, header = load_tensors(path)
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            found = f"{header.get('format')} version {header.get('version')}"
            raise CheckpointError(f"{path} holds {found}; expected {FORMAT} version {VERSION}")
        check_plugins(header, f"the embedding {path}")
        try:
            check_parts(header)
            model, graph = from_dict(EmbeddingConfig, header["model"]), from_dict(GraphConfig, header["graph"])
            vocabulary, widths = Vocabulary.from_json(header["vocabulary"]), from_dict(FeatureWidths, header["widths"])
            with building_for(tensors):
                embedding = build_embedding(model, graph, widths=widths, vocabulary=len(vocabulary))
            embedding.load_state_dict(tensors)
            features, kept = header["features"], header["features_dtype"]
            control, made_with = header.get("control", "none"), tuple(header.get("made_with", ()))
        except (*DAMAGED, RuntimeError) as error:
            raise CheckpointError(f"{path}: settings and weights do not fit each other: {error}") from error
        return cls(embedding.eval(), vocabulary, model, graph, widths, features, kept, control, made_with)


def _file(path: Path) -> Path:
    return path / EMBEDDING_FILE if path.is_dir() else path
