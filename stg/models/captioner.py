"""The captioner of Pan et al. (2020): a scene branch, an object branch, and a decoder for each."""

import copy
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

import graphs
from decoders import Decoder, VideoMemory
from graphs import GraphData
from stg.models.branches import SceneBranch, SceneViews, pad_scene
from stg.models.feature_kinds import FEATURES
from stg.models.memory import MemoryBuilder
from stg.models.readout import JoinTokens, Readout, Tokens, frame_tokens
from stg.models.word_prediction import WordPredictor

GraphEncoder: TypeAlias = "graphs.STGEncoder | graphs.RelationalEncoder | graphs.LearnedTemperature"
Fusion = Literal["distill", "concat", "l2", "joint"]

WHOLE_VIDEO = frozenset({"clip", "category"})
"""Parts of a memory that describe a video and no step of it, and so stay what they are when branches are joined."""


JOINED: frozenset[Fusion] = frozenset({"concat", "joint"})
"""The fusions in which one decoder reads both branches, at test time too."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One branch of a captioner.

    Attributes:
        encoder: makes sequences of frames, of the scene or of the objects of a graph; for a graph, any module that
            turns a batch into ``graphs.VideoStates``.
        decoder: reads them; None where another branch's decoder reads them along with its own (``fusion="concat"``).
        memory: makes what else the decoder reads, from the nodes of the graph in the object branch; None: nothing.
        readout: of the object branch, what the decoder reads in place of the means of frames; None: these means.
    """

    encoder: "SceneBranch | SceneViews | GraphEncoder"
    decoder: Decoder | None = None
    memory: MemoryBuilder | None = None
    readout: Readout | None = None


@dataclass(frozen=True)
class Encoded:
    """What the branches make of a batch of videos.

    Attributes:
        scene: memory of the scene branch, or None where the model has none.
        objects: memory of the object branch (per-frame means, where frames without objects are masked, or what its
            readout makes), or None.
        has_objects: [B], True for videos with at least one object.
    """

    scene: VideoMemory | None
    objects: VideoMemory | None
    has_objects: Bool[Tensor, " B"]


class Captioner(nn.Module):
    """Two branches that learn together; the scene branch alone captions (Pan et al., 2020, Sec. 3).

    Pass the branches, so that any part of them can be one's own. With ``fusion="concat"`` the branches join before a
    single decoder (the ablation "Two Branch + Concat"): by channel through ``join``, or one after the other in time
    where ``join`` is None; that decoder reads frames, and at most what describes the video as a whole. With
    ``fusion="joint"`` they join too: one decoder attends to the frames of the scene and to what the readout of the
    graph makes (each object, each track, or the means), as one sequence in which a learned vector marks each kind, or,
    where the decoder reads ``objects``, as a memory of its own.

    Args:
        scene: the scene branch, or None for an object-only model.
        objects: the branch of the graph, or None for a scene-only model; joined to the other, it has no decoder.
        fusion: how the branches meet: ``distill`` (Eq. 7), ``l2`` (Table 3), ``concat`` (Table 3), ``joint``.
        join: linear layer from the 2C joined channels to C; for ``joint``, what joins the steps.
        standardise: by batch field (``scene``, ``motion``, ``x``, ``grid``, ``audio``), what standardises it first;
            None leaves features as they are, as the paper does.

    Raises:
        ValueError: the branches do not fit the fusion, or a decoder reads what its branch does not provide.
    """

    def __init__(
        self,
        *,
        scene: Branch | None = None,
        objects: Branch | None = None,
        fusion: Fusion = "distill",
        join: nn.Linear | JoinTokens | None = None,
        standardise: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__()
        if scene is None and objects is None:
            raise ValueError("a captioner needs a scene branch, an object branch, or both; got neither")
        # Refused here, not in the first batch: a model that cannot caption must not begin to train.
        decoders = [branch.decoder is not None for branch in (scene, objects) if branch is not None]
        joined = fusion in JOINED
        if joined and decoders != [True, False]:
            raise ValueError(f"fusion={fusion!r} needs both branches and exactly one decoder, that of the scene branch")
        if not joined and not all(decoders):
            raise ValueError("every branch needs its decoder")
        _check_reads("scene", scene, fusion)
        _check_reads("object", objects, fusion)
        # Regions and grids belong to the steps of one branch: joined frames have no such steps.
        apart = fusion == "joint" and scene is not None and scene.decoder is not None and _apart(scene.decoder)
        if joined and not apart and scene and scene.decoder and (steps := scene.decoder.reads - WHOLE_VIDEO):
            raise ValueError(
                f"fusion={fusion!r} joins the frames of both branches and its decoder reads {_listed(steps)} too: "
                "give it one that reads frames alone"
            )
        # Files of weights name these attributes, and optimisers number them: neither names nor order may change.
        self.scene = cast("SceneBranch | SceneViews | None", scene and scene.encoder)
        self.objects = cast("GraphEncoder | None", objects and objects.encoder)
        self.scene_decoder = scene.decoder if scene is not None else None
        self.object_decoder = objects.decoder if objects is not None else None
        self.scene_parts = scene.memory if scene is not None else None
        self.object_parts = objects.memory if objects is not None else None
        self.fusion, self.join, self.standardise = fusion, join, standardise
        self.readout = objects.readout if objects is not None else None
        self.words: nn.ModuleDict | None = None

    def predict_words(self, prior: Float[Tensor, " V"], counted: Bool[Tensor, " V"]) -> None:
        """Let `word_logits` predict the words of captions from what each decoder reads.

        Args:
            prior: share of captions that hold each word.
            counted: the words that are asked for.
        """
        # Joined, the objects are read once more by themselves: in the mean of all steps they would be few.
        memories = 2 if self.fusion in JOINED else 1
        decoders = {"scene": self.scene_decoder, "object": self.object_decoder}
        like = next(self.parameters())
        self.words = nn.ModuleDict(
            {
                branch: WordPredictor(decoder.channels, prior.to(like), counted.to(like.device), memories)
                for branch, decoder in decoders.items()
                if decoder is not None
            }
        )

    def word_logits(self, encoded: Encoded) -> dict[str, Float[Tensor, "B V"]]:
        """By the branch of a decoder: what its memory says of the words of captions; none without `predict_words`."""
        memories = {"scene": [encoded.scene], "object": [encoded.objects]}
        if self.fusion in JOINED:
            memories["scene"].append(encoded.objects)
        predictors = self.words.items() if self.words is not None else ()
        return {branch: predictor(*memories[branch]) for branch, predictor in predictors}

    def encode(self, batch: GraphData) -> Encoded:
        """Encode each video of a flat batch once, by every branch of the model.

        Raises:
            ValueError: the batch lacks features that the model was built with.
        """
        if self.standardise is not None:
            # A shallow copy: the caller's batch keeps its features, and nothing is copied twice.
            batch = copy.copy(batch)
            for name, function in self.standardise.items():
                if name in batch:
                    batch[name] = function(batch[name])
        scene_memory = object_memory = None
        if self.scene is not None:
            padded = pad_scene(batch)
            parts = self.scene_parts(batch) if self.scene_parts is not None else {}
            scene_memory = VideoMemory(frame_mask=padded.mask, **self.scene.views(padded), **parts)
        if self.objects is not None:
            # The graph gives one vector a node and their mean a frame; regions keep the nodes themselves.
            states = self.objects(batch)
            parts = self.object_parts(batch, states.nodes) if self.object_parts is not None else {}
            read = {"frames": states.frames, "frame_mask": states.frame_mask}
            if self.readout is not None:
                read = self.readout(states.nodes, batch)._asdict()
            object_memory = VideoMemory(**read, **parts)
            has_objects = states.frame_mask.any(-1)
        else:
            # The losses ask for it whatever the model.
            has_objects = torch.zeros(len(batch.num_frames), dtype=torch.bool, device=batch.num_frames.device)
        # Joined into the scene's memory, as its decoder is the only one.
        if self.fusion in JOINED and scene_memory is not None and object_memory is not None:
            scene_memory = self._joined(scene_memory, object_memory)
        return Encoded(scene_memory, object_memory, has_objects)

    def _joined(self, scene: VideoMemory, objects: VideoMemory) -> VideoMemory:
        if self.fusion == "joint" and _apart(self.decoder):
            read = _tokens(objects)
            return replace(
                scene,
                objects=read.frames,
                object_mask=read.frame_mask,
                object_times=read.times,
                object_shows=read.shows,
                object_shares=read.shares,
            )
        if isinstance(self.join, JoinTokens):
            return replace(scene, **self.join(_tokens(scene), _tokens(objects))._asdict())
        if self.join is None:
            # Joined in time, frames without objects stay masked; by channel they are zeros next to a real scene.
            mask = torch.cat([scene.frame_mask, objects.frame_mask], 1)
            return replace(scene, frames=torch.cat([scene.frames, objects.frames], 1), frame_mask=mask)
        return replace(scene, frames=self.join(torch.cat([scene.frames, objects.frames], -1)))

    def anneal(self, temperature: float) -> None:
        """Let the decoders choose at ``temperature`` what they attend to; see `Decoder.anneal`."""
        for decoder in (self.scene_decoder, self.object_decoder):
            if decoder is not None:
                decoder.anneal(temperature)

    @property
    def decoder(self) -> Decoder:
        """The decoder that captions at test time: the scene branch's, where there is one."""
        decoder = self.scene_decoder or self.object_decoder
        assert decoder is not None  # the constructor refuses a model without any
        return decoder

    def memory(self, batch: GraphData, *, words: bool = False) -> VideoMemory:
        """What `decoder` reads at test time: the scene branch's memory, or that of an object-only model.

        Args:
            words: whether it is to hold what the model predicts of the words of captions, if it has learned to.
        """
        encoded = self.encode(batch)
        memory = encoded.scene or encoded.objects
        assert memory is not None
        if words and self.words is not None:
            return replace(memory, words=nn.functional.logsigmoid(self.word_logits(encoded)[self._decoder_branch]))
        return memory

    @property
    def _decoder_branch(self) -> str:
        return "scene" if self.scene_decoder is not None else "object"

    @property
    def reads(self) -> frozenset[str]:
        """The kinds of features that captioning reads: of ``scene``, ``motion``, ``objects``, ``grid``, ``audio``."""
        return frozenset(FEATURES[name].kind for name in self._fields(test_time=True))

    @property
    def needs_objects(self) -> bool:
        """Whether captioning reads objects: never for Pan's model, whose scene branch stands alone."""
        return "objects" in self.reads

    def for_captioning(self) -> "Captioner":
        """The part that captions: no object branch unless it is read at test time; weights are shared."""
        # The object branch alone, or joined: there is nothing to drop.
        if self._captions_with_graph or self.scene is None:
            return self
        # The exported file holds nothing of the object branch, the statistics of its features included.
        kept = None
        if self.standardise is not None:
            read = self._fields(test_time=True)
            kept = nn.ModuleDict({name: part for name, part in self.standardise.items() if name in read})
        alone = Captioner(scene=Branch(self.scene, self.scene_decoder, self.scene_parts), standardise=kept)
        if self.words is not None:
            alone.words = nn.ModuleDict({self._decoder_branch: self.words[self._decoder_branch]})
        return alone

    @property
    def _captions_with_graph(self) -> bool:
        return self.scene is None or self.fusion in JOINED

    def _fields(self, *, test_time: bool) -> frozenset[str]:
        """The features of a batch that are read."""
        read = self.scene.requires if self.scene is not None else frozenset()
        read |= self.scene_parts.requires if self.scene_parts is not None else frozenset()
        # In training the graph is read too, to teach the scene branch.
        if self.objects is not None and (self._captions_with_graph or not test_time):
            read |= {"x"} | (self.object_parts.requires if self.object_parts is not None else frozenset())
        return read


def _apart(decoder: Decoder) -> bool:
    """Whether a decoder attends to objects in a sequence of their own."""
    return "objects" in decoder.reads


def _check_reads(name: str, branch: Branch | None, fusion: Fusion) -> None:
    if branch is None or branch.decoder is None:
        return
    # The graph's encoder gives frames; all else that a decoder reads comes from the memory builder.
    provides = frozenset({"frames"}) if name == "object" else cast("SceneBranch | SceneViews", branch.encoder).provides
    provides |= branch.memory.provides if branch.memory is not None else frozenset()
    provides |= {"objects"} if name == "scene" and fusion == "joint" else set()
    # What a decoder only learns from must be there too, or its loss would be missing in silence.
    if missing := branch.decoder.learns_from - provides:
        advice = "SceneViews as its encoder" if name == "scene" and missing == {"motion"} else "its memory with it"
        raise ValueError(
            f"the decoder of the {name} branch reads {_listed(missing)}, and the branch provides {_listed(provides)}: "
            f"pass {advice}"
        )


def _tokens(memory: VideoMemory) -> Tokens:
    if memory.times is None or memory.shows is None:
        return frame_tokens(memory.frames, memory.frame_mask)
    return Tokens(memory.frames, memory.frame_mask, memory.times, memory.shows, memory.shares)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
