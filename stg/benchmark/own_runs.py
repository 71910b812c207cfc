"""Runs of stg.fit, and captioners made of them, answer a bench: by the likelihood of each choice as the caption.

Of a model of the built-in world, clips are shrunk to the world's pictures, and the world's detector finds the objects,
as in training: it knows where they are from the scenes of the bench, which are made again, and spoils it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decoders import VideoMemory
from stg.benchmark.arrangement import Control, arranged, arrangements
from stg.benchmark.asking import ask_clips
from stg.benchmark.making import made_again
from stg.benchmark.questions import Answer, Bench, Question, write_lines
from stg.benchmark.twins import SIDE, Scene
from stg.captioning.pipeline import VideoCaptioner
from stg.data.edges import graph_as_recorded
from stg.datasets.world.extractor import WORLD, is_world, world_extractor
from stg.datasets.world.perception import WorldDetector, block_means
from stg.explain.likelihood import caption_log_probs
from stg.features.clip_pass import ClipFeatures
from stg.features.extractor import Extractor
from stg.features.manifest import Manifest
from stg.features.rebuild import Builder
from stg.models.generation import Caption, decode_memory, video_memory
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import append_jsonl, heal_jsonl
from stg.runtime.reading import read_json_lines, require
from stg.runtime.reporter import SILENT, Reporter
from stg.text.tokenizer import tokenize
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames

_STREAM = 12
"""Of the detector's draws; see `stg.benchmark.making`."""


@dataclass(frozen=True)
class Shown:
    """What a model was shown of one clip, and said of it.

    Args:
        answers: to the questions on it.
        caption: the model's own; None where it was not asked for.
        truth_log_probs: log-probability of each true caption, its end included; none where no caption was asked for.
    """

    answers: list[Answer]
    caption: Caption | None
    truth_log_probs: list[float]


@dataclass
class OwnRun:
    """A captioner that answers questions on clips.

    The score of a choice is its log-probability as the caption of the clip, the end included: the sum over its words.

    Args:
        captioner: the model with its networks; of a model of the built-in world that reads objects, opened with
            :func:`bench_builders`.
        bench: whose questions.
        control: what is shown of each clip, one of `stg.benchmark.arrangement.CONTROLS`.
        read: from the name of a clip to what is read of it; default: its file is decoded.

    Attributes:
        unknown: words of choices that the model's vocabulary lacks, which it reads as one unknown word -> in how many
            questions.

    Raises:
        UserError: a control for a model that reads motion or sound, which are not of single frames.
    """

    captioner: VideoCaptioner
    bench: Bench
    control: Control = "none"
    read: Callable[[str], ClipFeatures] | None = None
    unknown: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        extractor = self.captioner.extractor
        if self.control != "none" and (extractor.motion is not None or extractor.sound is not None):
            raise UserError(f"control={self.control} arranges single frames, and this model reads motion or sound too")
        self._size = world_size(self.captioner.trained.features)

    def clip(self, video: str) -> ClipFeatures:
        """What is read of a clip, in the size of the pictures that the model was trained on.

        Raises:
            UserError: its file is not there.
            VideoError: it cannot be read.
        """
        extractor = self.captioner.extractor
        clip = extractor.run_clip(read_clip(self.bench.clip(video), self.captioner.request()))
        return clip if self._size is None else replace(clip, sample=shrunk(clip.sample, self._size))

    @torch.inference_mode()
    def show(self, video: str, questions: Sequence[Question], *, caption: bool = True) -> Shown:
        """Answers to the questions on a clip, the model's caption, and how likely it finds the true ones.

        Under a control with several arrangements of frames scores are their means, and the caption is that of the
        first.

        Args:
            video: name of the clip.
            questions: on it.
            caption: False leaves out the caption and the true ones.

        Raises:
            UserError, VideoError: see :meth:`clip`.
        """
        vocabulary, decoder = self.captioner.trained.vocabulary, self.captioner.trained.captioner.decoder
        self._note_unknown(questions)
        clip = (self.read or self.clip)(video)
        memories = [self.memory(clip, places) for places in arrangements(self.control, video, len(clip.sample.frames))]
        said = self._likelihoods(memories, [choice for one in questions for choice in one.choices])
        answers, start = list[Answer](), 0
        for one in questions:
            scores = tuple(said[start : start + len(one.choices)])
            best = max(scores)
            answers.append(Answer(one.id, scores.index(best) if scores.count(best) == 1 else None, scores))
            start += len(one.choices)
        if not caption:
            return Shown(answers, None, [])
        found = decode_memory(decoder, memories[0], vocabulary, self.captioner.search)[0][0]
        # In a pass of their own: the scores of choices are the same to the bit, whether these are read or not.
        return Shown(answers, found, self._likelihoods(memories, self.bench.captions[video]))

    def _likelihoods(self, memories: Sequence[VideoMemory], texts: Sequence[str]) -> list[float]:
        """The log-probability of each text, the mean over the memories."""
        if not texts:
            return []
        trained = self.captioner.trained
        words = [tuple(trained.vocabulary.encode(text)[1:-1]) for text in texts]
        # Texts that differ in unknown words alone are one text: else rounding would tell them apart.
        distinct = list(dict.fromkeys(words))
        each = [caption_log_probs(trained.captioner.decoder, memory, distinct).double() for memory in memories]
        found = dict(zip(distinct, torch.stack(each).mean(0).tolist(), strict=True))
        return [found[text] for text in words]

    def memory(self, clip: ClipFeatures, places: np.ndarray) -> VideoMemory:
        """What the decoder reads of a clip whose sampled frames stand in these places."""
        captioner = self.captioner
        features = captioner.extractor(replace(clip, sample=arranged(clip.sample, places)))
        graph = graph_as_recorded(features, captioner.trained.features)
        video = clip.sample.video
        model, source, words = captioner.trained.captioner, captioner.source(graph, video), captioner.search.word_weight
        return video_memory(model, source, [video], captioner.device, words=bool(words))

    def _note_unknown(self, questions: Sequence[Question]) -> None:
        known = set(self.captioner.trained.vocabulary.words)
        for one in questions:
            for word in {word for choice in one.choices for word in tokenize(choice)} - known:
                self.unknown[word] = self.unknown.get(word, 0) + 1


def world_size(manifest: Mapping[str, Any]) -> int | None:
    """Width and height of the pictures of a model of the built-in world; None for models of others' clips."""
    if not is_world(manifest):
        return None
    world = (Manifest(manifest).entry("detector") or {}).get("world")
    return int(world.get("size", SIDE)) if isinstance(world, Mapping) else SIDE


def shrunk(sample: SampledFrames, size: int) -> SampledFrames:
    """The frames ``size`` by ``size``, each pixel the mean of what it covers."""
    if sample.frames.shape[1:3] == (size, size):
        return sample
    return replace(sample, frames=(block_means(sample.frames, size) + 0.5).astype(np.uint8))


def bench_builders(bench: Bench) -> dict[str, Builder]:
    """For :func:`stg.features.rebuild.plan_features`: the networks of the built-in world on the clips of a bench.

    Scenes are made again where a model reads objects, and else are not needed.
    """

    def build(manifest: Manifest, reads: Sequence[str]) -> Extractor:
        plain = world_extractor(manifest, [name for name in reads if name != "objects"])
        if "objects" not in reads:
            return plain
        scenes = {name: clip.scene for name, clip in made_again(bench).clips.items()}
        values = manifest.values
        try:
            detector = bench_detector(scenes, manifest.entry("detector"), int(bench.settings["world"]["seed"]))
            sampling = replace(plain.sampling, threshold=values["threshold"], max_objects=values["max_objects"])
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(f"the manifest of these features is damaged ({type(error).__name__}: {error})") from error
        return Extractor(detector, plain.backbone, sampling)

    return {WORLD: build}


def bench_detector(scenes: Mapping[str, Scene], entry: Mapping[str, Any], seed: int) -> WorldDetector:
    """The detector of the built-in world, which finds the objects of these scenes as well as those of its own videos.

    Args:
        scenes: by the names of the clips, ``clip-00012``.
        entry: what a manifest says of the detector.
        seed: of the bench: what is missed and invented depends on it.
    """
    world = entry["world"]
    size = int(world["size"])

    def truth(video: str, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scene = scenes[video]
        boxes = scene.boxes(number) * (size / SIDE)
        return boxes, scene.hidden(number)

    return WorldDetector(
        truth=truth,
        size=size,
        frames=next(iter(scenes.values())).frames,
        key=lambda video: (seed, _STREAM, int(video.rpartition("-")[2])),
        jitter=float(entry["jitter"]),
        miss=float(entry["miss"]),
        invent=float(entry["invent"]),
        # As it was trained with: what else the manifest says of it is of no account here.
        world={"world": world},
    )


def answer_bench(
    own: OwnRun, answers: str | Path, captions: str | Path, *, made: str, reporter: Reporter = SILENT
) -> int:
    """Ask a run all questions that have no answer yet, and let it caption the clips.

    Args:
        own: who answers.
        answers: file of answers, which is continued.
        captions: file of captions, which is continued, a JSON object a line: ``video``, ``caption``, ``log_prob``, and
            ``truth_log_probs``, the log-probability of each true caption.
        made: which model and settings; files of others are refused.
        reporter: hears the progress, and may stop between clips.

    Returns:
        How many questions were asked.

    Raises:
        Preempted, UserError: see `stg.benchmark.asking.ask_clips`; a clip that cannot be read.
        StgError: a file cannot be written.
    """
    captions = Path(captions)
    rows = _kept_captions(captions, own.bench, made)

    def answer(video: str, questions: Sequence[Question]) -> list[Answer]:
        shown = own.show(video, questions, caption=video not in rows)
        # Before the answers: a clip that has them has its caption.
        if shown.caption is not None:
            rows[video] = {
                "video": video,
                "caption": shown.caption.text,
                "log_prob": shown.caption.log_prob,
                "truth_log_probs": shown.truth_log_probs,
                "made": made,
            }
            append_jsonl(captions, rows[video])
        return shown.answers

    asked = ask_clips(own.bench, answer, answers, made=made, reporter=reporter)
    missing = [video for video in own.bench.videos if video not in rows]
    for video in missing:
        if reporter.should_stop():
            raise Preempted("stopped while clips were captioned: the same command captions the others")
        answer(video, [])
    if asked or missing:
        write_lines(captions, [rows[video] for video in own.bench.videos if video in rows])
    return asked


def _kept_captions(path: Path, bench: Bench, made: str) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    heal_jsonl(path)
    found = dict[str, dict[str, Any]]()
    for where, row in read_json_lines(path):
        video = require(row, "video", str, where)
        if video not in bench.captions or row.get("made") != made:
            raise UserError(
                f"{where} is a caption of {row.get('made') or 'an unknown model'}, and {made} is asked now: name "
                "another file"
            )
        found[video] = row
    return found
