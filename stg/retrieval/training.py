"""Training the video-text embedding: what it finds in a split, one step, and the loop over epochs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from graphs import GraphSource, GraphStore
from stg.config.retrieval import EmbedConfig
from stg.config.training import OptimConfig
from stg.data.batches import BatchSource, CaptionBatch, TrainingSet, shuffle_groups
from stg.data.prefetch import load_into_memory
from stg.datasets.base import CaptionDataset
from stg.models.feature_kinds import FeatureWidths
from stg.models.statistics import Standardise
from stg.retrieval.embedding import EmbeddingBundle, VideoTextEmbedding, build_embedding, pad_texts
from stg.retrieval.ranking import Retrieval, matching_loss, rank
from stg.runs.checkpoints import Checkpoints
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.files import append_jsonl, fingerprint
from stg.runtime.reading import counted
from stg.runtime.reporter import SILENT, Reporter, Steps
from stg.text.vocabulary import Vocabulary
from stg.training.schedules import OPTIMISERS
from stg.training.state import TrainingState
from stg.training.step import train_step


@torch.inference_mode()
def retrieve(
    trained: EmbeddingBundle,
    store: GraphSource,
    captions: Mapping[str, Sequence[str]],
    *,
    source: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    batch_videos: int = 64,
    batch_texts: int = 512,
) -> Retrieval:
    """Rank all captions and videos of a split; captions without any word, and videos without others, are left out.

    Args:
        captions: video -> its captions.
        source: whose features each video gets (the shuffled control); None: its own.

    Raises:
        UserError: no caption has a word.
    """
    encoded = _encode(trained.vocabulary, captions)
    if not encoded:
        raise UserError("none of the captions to find has a word: check the captions")
    model = trained.embedding.to(device)
    before = model.training
    model.eval()
    # The control reads the features of other videos under these names.
    names = [source[video] if source else video for video in encoded]
    texts = [words for found in encoded.values() for words in found]
    blocks = [names[at : at + batch_videos] for at in range(0, len(names), batch_videos)]
    videos = torch.cat([model.videos(store.flat_batch(block, **trained.edges).to(device)) for block in blocks])
    padded = (pad_texts(texts[at : at + batch_texts]) for at in range(0, len(texts), batch_texts))
    # Block by block on both sides; only the vectors are held, [B D] and [W D].
    vectors = torch.cat([model.texts(words.to(device), lengths.to(device)) for words, lengths in padded])
    counts = torch.tensor([len(found) for found in encoded.values()], device=videos.device)
    row = torch.arange(len(encoded), device=videos.device).repeat_interleave(counts)
    model.train(before)
    return rank(videos, vectors, row)


def _encode(vocabulary: Vocabulary, captions: Mapping[str, Sequence[str]]) -> dict[str, list[list[int]]]:
    encoded = {v: [words for text in texts if (words := vocabulary.encode(text))] for v, texts in captions.items()}
    return {video: texts for video, texts in encoded.items() if texts}


def fit_statistics(
    model: VideoTextEmbedding, store: GraphSource, videos: Sequence[str], *, batch_videos: int = 64
) -> None:
    """Let an embedding that standardises its features take their statistics over ``videos``."""

    def blocks(name: str) -> Iterator[Tensor]:
        for at in range(0, len(videos), batch_videos):
            batch = store.flat_batch(videos[at : at + batch_videos], variant="none")
            yield batch.audio[batch.audio_mask] if name == "audio" else batch[name]

    for name, part in model.video.named_modules():
        if isinstance(part, Standardise):
            part.fit(blocks(name.rsplit(".", 1)[-1]))


def sources(config: EmbedConfig, groups: Sequence[Sequence[str]]) -> dict[str, str] | None:
    """Whose features each video gets: another one's of its group in the control; None: its own."""
    return shuffle_groups(groups, config.seed) if config.control == "shuffle" else None


def train(
    config: EmbedConfig,
    folder: Path,
    dataset: CaptionDataset,
    store: GraphStore,
    *,
    reporter: Reporter = SILENT,
    begin: Callable[[], None],
    device: torch.device,
) -> None:
    """Train on the split ``train`` until the sum of recalls on ``val`` no longer grows; the best is kept in ``folder``.

    Each epoch leaves a checkpoint, from which the next call resumes; stopped and resumed, the result is the same to the
    last bit.

    Args:
        begin: called once nothing is left to refuse, before anything is written.
        reporter: receives lines and steps; its ``should_stop`` is asked after each step.

    Raises:
        Preempted: the reporter asked for a stop; the epochs done are saved.
        UserError: captions or features are not those that the folder was started with.
        StgError: the loss is not finite.
    """
    # Before the model is made: its first weights are drawn from this seed.
    torch.manual_seed(config.seed)
    captions, val = dataset.references("train"), dataset.references("val")
    trained = _untrained(config, captions, store)
    trained.embedding.to(device)
    shuffled, shuffled_val = (sources(config, dataset.groups(list(texts))) for texts in (captions, val))
    times = dataset.upsampled(config.data.upsample)
    data = _training_set(config, trained, captions, times, store, shuffled, reporter)
    state = _first_state(config, folder, trained, store)
    # Other words or features would give the saved weights another meaning.
    if changed := state.restore(warn=reporter.say):
        raise UserError(f"the {' and '.join(changed)} are not those that {folder} was started with: use another --out")
    best = "best sum of recalls {0.best:.3f} (epoch {1})"
    if state.finished:
        reporter.say(f"{folder} is finished: {best.format(state.at, state.at.best_epoch + 1)}")
        return
    begin()
    size = sum(weight.numel() for weight in trained.embedding.parameters()) / 1e6
    reporter.say(
        f"{folder}: {dataset.name}, {counted(len(data.captions), 'training video')}, {len(trained.vocabulary)} words, "
        f"{size:.2f}M weights, {device}" + (f"; resuming after epoch {state.at.epoch}" if state.at.epoch else "")
    )
    with reporter.training_bar(config.optim.epochs) as show:
        while not state.finished:
            _train_epoch(config, state, trained, data, device, reporter, show)
            found = retrieve(trained, store, val, source=shuffled_val, device=device)
            loss, improved = state.loss, state.end_epoch(found.recall_sum)
            # The model is on disk before the checkpoint says so: a kill in between only repeats work.
            if improved:
                state.save_best(found.recall_sum)
            state.save()
            append_jsonl(folder / "metrics.jsonl", {"epoch": state.at.epoch, "loss": loss, **found.values})
            reporter.say(
                f"epoch {state.at.epoch:3d}  loss {loss:.3f}  sum of recalls {found.recall_sum:.3f}"
                + ("  best so far" if improved else "")
            )
    reporter.say(best.format(state.at, state.at.best_epoch + 1))


def _first_state(config: EmbedConfig, folder: Path, trained: EmbeddingBundle, store: GraphStore) -> TrainingState:
    """The state of a training that has not begun."""
    model, optim = trained.embedding, config.optim
    return TrainingState(
        Checkpoints(folder / "checkpoints"),
        model,
        OPTIMISERS["adam"](list(model.parameters()), OptimConfig(lr=optim.lr, weight_decay=optim.weight_decay)),
        made_of={
            "captions": trained.vocabulary.fingerprint,
            "features": fingerprint(store.manifest),
        },
        epochs=optim.epochs,
        patience=optim.patience,
        export=lambda: trained.save(folder),
        numbered_by="epoch",  # whole epochs alone are saved
    )


def _untrained(config: EmbedConfig, captions: Mapping[str, Sequence[str]], store: GraphStore) -> EmbeddingBundle:
    """An embedding with fresh weights and the statistics of the training videos' features."""
    # From training captions alone: words of other splits must stay unknown.
    vocabulary = Vocabulary.build(
        (text for texts in captions.values() for text in texts),
        min_count=config.data.min_count,
        max_words=config.data.max_words,
    )
    videos = list(captions)
    widths = FeatureWidths.of(store.flat_batch([videos[0]], "none"))
    model = build_embedding(config.model, config.graph, widths=widths, vocabulary=len(vocabulary))
    fit_statistics(model, store, videos)
    return EmbeddingBundle(
        model,
        vocabulary,
        config.model,
        config.graph,
        widths,
        store.manifest,
        store.features_dtype,
        config.control,
        store.versions,
    )


def _training_set(
    config: EmbedConfig,
    trained: EmbeddingBundle,
    captions: Mapping[str, Sequence[str]],
    times: Mapping[str, int],
    store: GraphStore,
    shuffled: Mapping[str, str] | None,
    reporter: Reporter,
) -> TrainingSet:
    videos = list(captions)
    return TrainingSet(
        BatchSource(
            load_into_memory(store, videos, reporter=reporter) if config.data.loading == "memory" else store,
            **trained.edges,
            shuffled=shuffled,
        ),
        _encode(trained.vocabulary, captions),
        batch_videos=config.optim.batch_videos,
        captions_per_video=config.optim.captions_per_video,
        epoch_captions=config.optim.epoch_captions,
        times=times,
        seed=config.seed,
    )


def _train_epoch(
    config: EmbedConfig,
    state: TrainingState,
    trained: EmbeddingBundle,
    data: TrainingSet,
    device: torch.device,
    reporter: Reporter,
    show: Steps,
) -> None:
    """All steps of the next epoch.

    Raises:
        Preempted: the reporter asked for a stop.
        StgError: loss or gradient is not finite.
    """
    epoch, batches = state.at.epoch, data.epoch(state.at.epoch)
    # The hardest negatives from the first step on often collapse the space: all of them come first.
    hardest = epoch >= config.optim.hard_after

    def objective(model: VideoTextEmbedding, batch: CaptionBatch) -> dict[str, Tensor]:
        # The sentence mark in front, which captions for decoders have, is cut off.
        words, lengths = batch.words[:, 1:], batch.real.sum(1) - 1
        videos, texts = model.videos(batch.graphs), model.texts(words, lengths)
        return {"loss": matching_loss(videos, texts, batch.video, margin=config.optim.margin, hardest=hardest)}

    trained.embedding.train()
    for items in batches:
        batch = data.load(items).to(device)
        result = train_step(trained.embedding, batch, state.optimiser, objective, clip_norm=config.optim.clip_norm)
        if not result.finite:
            # The captioner's loop steps over such a batch; here an epoch is short, and the one before it is on disk.
            raise StgError(
                f"loss or gradient is not finite in epoch {epoch + 1} (videos "
                f"{', '.join(item.video for item in items[:3])} ...); epochs before are intact: lower --optim.lr or "
                "check the store"
            )
        state.advance(result)
        show(epoch, state.at.batch, len(batches), result.losses)
        if reporter.should_stop():
            kept = f"; the best is that of epoch {state.at.best_epoch + 1}" if epoch else ""
            raise Preempted(
                f"stopped in epoch {epoch + 1}, the epochs before it are in {state.folder}{kept}: "
                "the same command resumes after them"
            )
