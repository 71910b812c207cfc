"""All that a training run needs before its first step: data, words, model and what judges it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from graphs import GraphStore
from stg.config.data import DataConfig
from stg.config.training import FitConfig
from stg.data.batches import BatchSource, TrainingSet, controlled
from stg.data.prefetch import load_into_memory
from stg.datasets.base import CaptionDataset
from stg.datasets.open import open_dataset
from stg.metrics.scorer import Scorer
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.decoders import DECODERS
from stg.models.feature_kinds import FeatureWidths
from stg.models.statistics import classes_read, fit_statistics
from stg.runs.bundle import CaptionerBundle
from stg.runtime.device import check_precision
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import UserError
from stg.runtime.reporter import SILENT, Reporter
from stg.text.vocabulary import Vocabulary
from stg.training.validation import Validation
from stg.training.word_loss import predict_words

LOOKED_AT = 64
"""Training videos in which objects are looked for."""


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained, on what, and how it is judged.

    Attributes:
        dataset, store: captions and graphs.
        captions: of the training videos, as people wrote them.
        data: the same as numbers, in batches.
        trained: the model with its words and settings.
        validation: captions the validation videos and scores them.
    """

    dataset: CaptionDataset
    store: GraphStore
    captions: Mapping[str, Sequence[str]]
    data: TrainingSet
    trained: CaptionerBundle
    validation: Validation


def check_training(config: FitConfig) -> None:
    """Refuse settings that do not go together, before anything is made.

    Raises:
        UserError: scheduled sampling with a decoder that cannot go on from its own words.
    """

    if config.optim.scheduled_sampling is not None and not DECODERS[config.model.decoder].recurrent:
        recurrent = " or ".join(name for name, recipe in DECODERS.items() if recipe.recurrent)
        raise UserError(
            "optim.scheduled_sampling needs a decoder that reads one word after another; model.decoder is "
            f"{config.model.decoder!r}, which reads all at once: choose {recurrent}, or leave scheduled_sampling out"
        )


def set_up(
    config: FitConfig,
    device: torch.device,
    *,
    reporter: Reporter = SILENT,
    ranks: Ranks = SINGLE,
) -> TrainingSetup:
    """Open the data (the built-in world is made first where it is not there yet) and build the model on ``device``.

    Of several ``ranks``, the first makes the world and takes the statistics of features; all have the same model.

    Raises:
        UserError: the data are not there or do not fit the settings.
    """
    check_precision(config.optim.precision, device)
    # One process makes the world; the others would write the same files at the same time.
    with ranks.main_first():
        opened = open_dataset(config.data, config.world, reporter=reporter)
    dataset, store = opened.dataset, opened.store
    train_videos, val_videos = dataset.videos("train"), dataset.videos("val")
    captions = {video: dataset.captions[video] for video in train_videos}
    # From training captions alone: words of other splits must stay unknown.
    vocabulary, encoded = _read_words(captions, config.data)
    widths = FeatureWidths.of(store.flat_batch([train_videos[0]], "none"))
    model = _build(config, store, encoded, vocabulary, widths, device, ranks)
    category = classes_read(model, dataset.category, config.model.stats.categories, dataset.name)
    graphs = (
        load_into_memory(store, [*train_videos, *val_videos], reporter=reporter)
        if config.data.loading == "memory"
        else store
    )

    def source(videos: Sequence[str]) -> BatchSource:
        plain = BatchSource(graphs, config.graph.variant, config.graph.time_flow, category=category)
        return controlled(plain, config.run.control, dataset.groups(videos), config.run.seed)

    data = TrainingSet(
        source(train_videos),
        encoded,
        batch_videos=config.optim.batch_videos,
        captions_per_video=config.optim.captions_per_video,
        epoch_captions=config.optim.epoch_captions,
        times=dataset.upsampled(config.data.upsample),
        length_buckets=config.optim.length_buckets,
        pinned=device.type == "cuda",
        seed=config.run.seed,
    )
    validation = Validation(
        source(val_videos), val_videos, vocabulary, Scorer({video: dataset.captions[video] for video in val_videos})
    )
    trained = CaptionerBundle(
        model, vocabulary, config.model, config.graph, widths, store.manifest, store.features_dtype, store.versions
    )
    return TrainingSetup(dataset, store, captions, data, trained, validation)


def _require_objects(store: GraphStore, videos: Sequence[str]) -> None:
    """Refuse a store without any object, from which a model that reads objects would learn nothing, and not say so.

    Raises:
        UserError: none of the first videos has an object.
    """
    first = videos[:LOOKED_AT]
    if len(store.flat_batch(first, "none").boxes) == 0:
        raise UserError(
            f"{store.path}: none of the first {len(first)} training videos has an object, and this model learns from "
            "objects: extract with a detector (python -m stg.extract ... --detector FILE), or give --model.branches "
            "scene and a decoder that attends to frames"
        )


def _build(
    config: FitConfig,
    store: GraphStore,
    captions: Mapping[str, Sequence[Sequence[int]]],
    vocabulary: Vocabulary,
    widths: FeatureWidths,
    device: torch.device,
    ranks: Ranks,
) -> Captioner:
    """A fresh model with the statistics of the features, the same for all ranks."""
    model = build_captioner(
        config.model, config.graph, widths=widths, vocabulary=len(vocabulary), max_words=vocabulary.max_words
    ).to(device)
    if model.objects is not None or model.needs_objects:
        _require_objects(store, list(captions))
    # Statistics read every training video: taken once, and broadcast with the weights.
    if ranks.is_main:
        fit_statistics(model, store, list(captions))
    ranks.broadcast_module(model)
    # Of the captions alone, so that all ranks have the same layers.
    if config.loss.word_weight:
        predict_words(model, {video: texts for video, texts in captions.items() if texts}, len(vocabulary))
    return model


def _read_words(
    captions: Mapping[str, Sequence[str]], data: DataConfig
) -> tuple[Vocabulary, dict[str, list[list[int]]]]:
    """The vocabulary of the training captions, and these captions as numbers."""
    texts = (text for texts in captions.values() for text in texts)
    vocabulary = Vocabulary.build(texts, min_count=data.min_count, max_words=data.max_words)
    encoded = {video: [vocabulary.encode(text) for text in texts] for video, texts in captions.items()}
    # A caption without any word, such as one of punctuation alone, teaches nothing.
    return vocabulary, {video: [words for words in texts if words] for video, texts in encoded.items()}
