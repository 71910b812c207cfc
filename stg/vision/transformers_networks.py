"""Networks of transformers (Wolf et al., 2020), from folders as it saves them: image encoders, detectors, VideoMAE."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import AutoModelForObjectDetection, AutoModelForZeroShotObjectDetection
from transformers.utils import logging

from stg.runtime.errors import UserError, first_line
from stg.runtime.files import fingerprint
from stg.runtime.reading import read_json
from stg.video.clip import SegmentRequest
from stg.video.decoding import SampledFrames
from stg.vision.detectors import Detections, category_ids, class_name
from stg.vision.encoders import EncoderBackbone
from stg.vision.inference import in_batches, inference
from stg.vision.model_folders import CONFIG, PROCESSOR, model_name
from stg.vision.motion import MotionResult
from stg.vision.weights import WeightFile, Weights, on_device

UNREAD = ("transformers_version", "_name_or_path", "torch_dtype", "dtype", "architectures", "processor_class")
"""Settings that decide no number: who saved them, where, and how weights were kept."""

OVERLAP = 0.7
"""Boxes that overlap a better one by more than this are dropped: these detectors may give an object twice."""


def load_network(maker: Any, folder: Path, device: str, *, dtype: torch.dtype | str = torch.float32) -> nn.Module:
    """The frozen network of a folder.

    Args:
        maker: one of the classes of the library that open folders.
        folder: as the library saves models.
        device: where it goes.
        dtype: of its weights; ``auto``: as they were saved.

    Raises:
        UserError: damaged, of another kind, or weights are missing, which the library would fill with random numbers.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        network, loaded = maker.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=dtype
        )
    except Exception as error:  # of the library, of safetensors, of torch: they share no base class
        raise UserError(f"{folder} holds no network that transformers can open here: {first_line(error)}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(loaded["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing):
        # Saved with a classifier in the place of the pooler: the feature is then that of the first token.
        network.pooler, missing = None, []
    if missing:
        raise UserError(
            f"{folder} lacks weights of {type(network).__name__}: {', '.join(missing[:5])}"
            f"{', ...' * (len(missing) > 5)}"
        )
    return on_device(network.float() if dtype == torch.float32 else network, device)


def _settings(file: WeightFile, name: str) -> dict[str, Any]:
    """A settings file, without what decides no number."""
    path = file.path.parent / name
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a JSON object, as transformers writes it")
    return {key: value for key, value in found.items() if key not in UNREAD}


def _processor(file: WeightFile) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(file.path.parent, local_files_only=True)
    except Exception as error:  # as above
        raise UserError(f"{file.path.parent / PROCESSOR} cannot be used: {first_line(error)}") from error


def _entry(file: WeightFile) -> dict[str, Any]:
    """What the manifest of each of these networks says."""
    config = _settings(file, CONFIG)
    return {
        "kind": "transformers",
        "name": str(config.get("model_type")),
        "model": model_name(file),
        "weights": file.name,
        "sha256": file.sha256,
        "config": fingerprint(config),
        "processor": _settings(file, PROCESSOR),
    }


class TransformersBackbone(EncoderBackbone):
    """An image encoder: CLIP, SigLIP, DINOv2, DINOv3, ViT, ConvNeXt, ...

    The scene feature is the embedding that is compared with texts, where there is one, else the pooled output (else the
    first token). The map is the last hidden state, without the tokens that are no places.
    """

    @cached_property
    def network(self) -> nn.Module:
        """The frozen network; of CLIP and its like with the tower of the texts."""
        return load_network(AutoModel, self.weights.path.parent, self.device)

    @cached_property
    def processor(self) -> Any:
        """What prepares frames."""
        return _processor(self.weights)

    @property
    def _embeds(self) -> bool:
        return hasattr(self.network, "get_image_features")

    def settings(self) -> dict[str, Any]:
        """See :class:`stg.vision.encoders.EncoderBackbone`."""
        return {**_entry(self.weights), "scene": "get_image_features" if self._embeds else "pooler_output"}

    def pixels(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[Tensor, "T 3 h w"]:
        """See :class:`stg.vision.encoders.EncoderBackbone`."""
        # One axis of a tiny frame may be 3 long: the library is not left to guess.
        found = self.processor(list(frames), return_tensors="pt", input_data_format="channels_last")
        images = found.get("pixel_values")
        if images is None or images.ndim != 4:
            raise UserError(f"{self.weights.path.parent / PROCESSOR} makes no pictures [T 3 h w]: not an image encoder")
        return images.float()

    def normalise(self, values: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T 3 h w"]:
        """See :class:`stg.vision.encoders.EncoderBackbone`."""
        return _normalise(values, self.processor)

    def scene(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T S"]:
        """See :class:`stg.vision.encoders.EncoderBackbone`."""
        network: Any = self.network
        found = network.get_image_features(pixel_values=pixels) if self._embeds else network(pixel_values=pixels)
        if isinstance(found, Tensor):
            return found
        # Newer versions give an output here, too, whose pooled part is the embedding.
        pooled = found.pooler_output if found.get("pooler_output") is not None else found.last_hidden_state[:, 0]
        return pooled.flatten(1)

    def maps(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T D rows columns"]:
        """See :class:`stg.vision.encoders.EncoderBackbone`."""
        network: Any = getattr(self.network, "vision_model", self.network)
        hidden = network(pixel_values=pixels).last_hidden_state
        if hidden.ndim == 4:
            return hidden
        patch = getattr(network.config, "patch_size", None)
        rows, columns = (side // patch for side in pixels.shape[2:]) if isinstance(patch, int) else (0, 0)
        if not 0 < rows * columns <= hidden.shape[1]:
            raise UserError(f"{type(network).__name__} shows no map of places to read objects off: --detector none")
        # Class and register tokens come first.
        places = hidden[:, hidden.shape[1] - rows * columns :]
        return places.transpose(1, 2).reshape(len(pixels), -1, rows, columns)


class TransformersDetector:
    """A detector of the DETR family: D-FINE, RT-DETR, DETR, ..., or with words Grounding DINO.

    Labels are kept for people to read, where a class is one of COCO's.

    Args:
        weights: file in the folder that the library saved, settings next to it.
        words: what to look for, for a detector that is given words, which others must not be.
        batch: frames in one pass. Another number gives other last bits.
        device: where the network runs.
        min_score: boxes below are dropped before the suppression.
        max_boxes: most boxes a frame.

    Raises:
        UserError: at first use: not a detector, damaged files, words that are missing or too many, no such device.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        words: Sequence[str] = (),
        batch: int = 2,
        device: str = "cpu",
        min_score: float = 0.05,
        max_boxes: int = 100,
    ) -> None:
        self.weights, self.words, self.batch, self.device = WeightFile.of(weights), tuple(words), batch, device
        self.min_score, self.max_boxes = min_score, max_boxes

    @cached_property
    def network(self) -> nn.Module:
        """The frozen detector."""
        folder = self.weights.path.parent
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # as above
            raise UserError(f"{folder / CONFIG} cannot be used: {first_line(error)}") from error
        spoken = type(config) in AutoModelForZeroShotObjectDetection._model_mapping
        if spoken != bool(self.words):
            need = "is given words: name what to look for" if spoken else "knows its own classes: leave out the words"
            raise UserError(f"the detector {model_name(self.weights)} {need} (--detector_words 'a person, a ball')")
        return load_network(
            AutoModelForZeroShotObjectDetection if spoken else AutoModelForObjectDetection, folder, self.device
        )

    @cached_property
    def processor(self) -> Any:
        """What prepares frames."""
        return _processor(self.weights)

    @cached_property
    def prompt(self) -> tuple[dict[str, Tensor], list[int]]:
        """The words as tokens, and the word that each token belongs to; -1 for none."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.weights.path.parent, local_files_only=True, use_fast=True)
        except Exception as error:  # as above
            raise UserError(
                f"{self.weights.path.parent} has no tokenizer for the words: {first_line(error)}"
            ) from error
        text = "".join(f"{word}. " for word in self.words).rstrip()
        found = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        # The place of each letter, and -1 for the full stop and the space that end a word.
        owner = [place for place, word in enumerate(self.words) for place in (*[place] * len(word), -1, -1)]
        spans = found.pop("offset_mapping")[0].tolist()
        return dict(found), [owner[begin] if end > begin else -1 for begin, end in spans]

    def manifest(self) -> dict[str, Any]:
        """Library, model, hash of the weights, and the settings that decide which boxes come back."""
        words = {"words": list(self.words)} if self.words else {}
        return _entry(self.weights) | words | {
            "iou": OVERLAP, "min_score": self.min_score, "max_boxes": self.max_boxes,
        }  # fmt: skip

    def __call__(self, sample: SampledFrames) -> list[Detections]:
        """Boxes of every frame in pixels of the frame, best first."""
        found: list[Detections] = []
        with inference():
            for start in range(0, len(sample.frames), self.batch):
                found += self._pass(sample.frames[start : start + self.batch])
        return found

    def _pass(self, frames: UInt8[np.ndarray, "T H W 3"]) -> list[Detections]:
        network: Any = self.network
        given = self.processor(list(frames), return_tensors="pt", input_data_format="channels_last")
        inputs = {name: value.to(self.device) for name, value in given.items() if isinstance(value, Tensor)}
        height, width = frames.shape[1:3]
        if self.words:
            tokens, owner = self.prompt
            inputs |= {name: value.repeat(len(frames), 1).to(self.device) for name, value in tokens.items()}
            found = network(**inputs)
            results = [self._spoken(logits, owner) for logits in found.logits]
            centre, half = found.pred_boxes[..., :2], found.pred_boxes[..., 2:] / 2
            scale = found.pred_boxes.new_tensor([width, height] * 2)
            boxes = list(torch.cat([centre - half, centre + half], dim=-1) * scale)
            return [self._kept(*rows) for rows in zip(boxes, *zip(*results, strict=True), strict=True)]
        found = network(**inputs)
        sizes = [(height, width)] * len(frames)
        rows = self.processor.post_process_object_detection(found, threshold=self.min_score, target_sizes=sizes)
        return [self._kept(row["boxes"], row["scores"], row["labels"]) for row in rows]

    def _spoken(self, logits: Tensor, owner: list[int]) -> tuple[Tensor, Tensor]:
        """Score and word of each box: a word is as likely as the likeliest of its tokens."""
        scores = logits[:, : len(owner)].sigmoid()
        places = torch.tensor(owner, device=scores.device)
        words = torch.stack([scores[:, places == place].amax(dim=1) for place in range(len(self.words))], dim=1)
        best = words.max(dim=1)
        return best.values, best.indices

    def _kept(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        from torchvision.ops import nms

        boxes, scores, labels = (rows.float().cpu() for rows in (boxes, scores, labels))
        rows = torch.nonzero(scores >= self.min_score)[:, 0]
        rows = rows[nms(boxes[rows], scores[rows], OVERLAP)[: self.max_boxes]]
        return Detections(boxes[rows].numpy(), scores[rows].numpy(), labels=self._coco[labels[rows].long().numpy()])

    @cached_property
    def _coco(self) -> np.ndarray:
        """COCO's category of each class of this detector, 0 where it is none."""
        config: Any = self.network.config
        names = list(self.words) or [config.id2label[place] for place in range(config.num_labels)]
        if not self.words and (ids := category_ids(len(names))) is not None:
            return ids
        known = {class_name(label): label for label in range(1, 91)}
        bare = [name.lower().removeprefix("a ").removeprefix("an ") for name in names]
        return np.array([known.get(name, 0) for name in bare], np.int64)


class VideoMAENetwork:
    """Motion features of a VideoMAE (Tong et al., 2022) or another video encoder whose tokens are its places in time.

    A segment of more frames than the network takes is thinned evenly: span 64 of a network of 16 frames, as it is
    evaluated on Kinetics, takes each fourth.

    Args:
        weights: file in the folder that the library saved, settings next to it.
        span: frames of a segment, a multiple of those that the network takes.
        batch: segments in one pass.
        device: where it runs.
        whole: take the whole frame, stretched, so that its map covers every object.

    Raises:
        UserError: not such a network, damaged files, another span, no such device.
    """

    def __init__(
        self, weights: Weights, *, span: int = 16, batch: int = 1, device: str = "cpu", whole: bool = False
    ) -> None:
        self.weights, self.batch, self.device = WeightFile.of(weights), batch, device
        self.network: Any = load_network(AutoModel, self.weights.path.parent, device)
        config: Any = self.network.config
        sizes: list[Any] = [
            getattr(config, name, None) for name in ("num_frames", "tubelet_size", "patch_size", "image_size")
        ]
        if not all(isinstance(size, int) for size in sizes):
            raise UserError(f"{model_name(self.weights)} ({config.model_type}) is no VideoMAE: give another --motion")
        self.frames, self.tubelet, self.patch, side = sizes
        if span % self.frames:
            raise UserError(
                f"{model_name(self.weights)} takes {self.frames} frames, and a segment has {span}: give --motion_span "
                f"{self.frames} or a multiple of it"
            )
        self.processor = _processor(self.weights)
        self.whole = whole
        self.request = SegmentRequest(span, (side, side) if whole else side, (side, side))

    def manifest(self) -> dict[str, Any]:
        """Library, model, hash of the weights, span, preprocessing and pooling."""
        side = self.request.crop[0]
        resized = f"stretched to {side}x{side}" if self.whole else f"shorter side {side}, centre crop"
        return _entry(self.weights) | {
            "span": self.request.span,
            "frame_rate": "as in the video",
            "resize": f"{resized}, swscale bilinear",
            "pooled": "mean over the last hidden state",
        }

    @inference()
    def __call__(self, segments: UInt8[np.ndarray, "K span H W 3"]) -> MotionResult:
        """``pooled [K M]`` and ``maps [K t h w M]``."""
        want = (self.request.span, *self.request.crop, 3)
        if segments.shape[1:] != want or segments.dtype != np.uint8:
            raise ValueError(f"segments must be uint8 [K {' '.join(map(str, want))}]; got {list(segments.shape)}")
        thinned = segments[:, :: self.request.span // self.frames].copy()  # what comes in may be read-only
        hidden = in_batches(self._run, torch.from_numpy(thinned), self.batch)
        side = self.request.crop[0] // self.patch
        maps = hidden.unflatten(1, (self.frames // self.tubelet, side, side))
        return MotionResult(hidden.mean(dim=1).numpy(), maps.contiguous().numpy())

    def _run(self, clips: Tensor) -> Tensor:
        values = _normalise(clips.float().permute(0, 1, 4, 2, 3), self.processor)
        return self.network(pixel_values=values.to(self.device)).last_hidden_state.cpu()


def _normalise(values: Float32[Tensor, "*axes 3 h w"], processor: Any) -> Float32[Tensor, "*axes 3 h w"]:
    """Values 0 to 255 on the scale that a processor brings them to."""
    if processor.do_rescale:
        values = values * processor.rescale_factor
    if not processor.do_normalize:
        return values
    mean, std = (values.new_tensor(list(item))[:, None, None] for item in (processor.image_mean, processor.image_std))
    return (values - mean) / std
