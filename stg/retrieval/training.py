"""Training the video-text embedding: what it finds in a split, one step, and the loop over epochs."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from graphs import GraphSource, GraphStore
from stg.config.retrieval import EmbedConfig
from stg.config.training import OptimConfig
from stg.data.batches import BatchSource, Item, TrainingSet, shuffle_features
from stg.data.prefetch import load_into_memory
from stg.datasets.base import CaptionDataset
from stg.models.feature_kinds import FeatureWidths
from stg.models.statistics import Standardise
from stg.retrieval.embedding import EmbeddingBundle, VideoTextEmbedding, build_embedding, pad_texts
from stg.retrieval.ranking import Retrieval, matching_loss, rank
from stg.runs.checkpoints import Checkpoints
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.files import append_jsonl
from stg.runtime.progress import training
from stg.text.vocabulary import Vocabulary
from stg.training.schedules import OPTIMISERS


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
    names = [source[video] if source else video for video in encoded]
    texts = [words for found in encoded.values() for words in found]
    blocks = [names[at : at + batch_videos] for at in range(0, len(names), batch_videos)]
    videos = torch.cat([model.videos(store.batch(block, **trained.edges).to(device)) for block in blocks])
    padded = (pad_texts(texts[at : at + batch_texts]) for at in range(0, len(texts), batch_texts))
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
            batch = store.batch(videos[at : at + batch_videos], variant="none")
            yield batch.audio[batch.audio_mask] if name == "audio" else batch[name]

    for name, part in model.video.named_modules():
        if isinstance(part, Standardise):
            part.fit(blocks(name.rsplit(".", 1)[-1]))


@dataclass
class Position:
    """Where the training stands; saved with each checkpoint."""

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    stale: int = 0

    def done(self, config: EmbedConfig) -> bool:
        """Whether the epochs or the patience of ``config`` are used up."""
        return self.epoch >= config.optim.epochs or self.stale >= config.optim.patience


def sources(config: EmbedConfig, videos: Sequence[str]) -> dict[str, str] | None:
    """Whose features each video gets: another one's in the control; None: its own."""
    return shuffle_features(videos, config.seed) if config.control == "shuffle" else None


def train(
    config: EmbedConfig,
    folder: Path,
    dataset: CaptionDataset,
    store: GraphStore,
    *,
    console: Console,
    tell: Callable[[str], None],
    begin: Callable[[], None],
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train on the split ``train`` until the sum of recalls on ``val`` no longer grows; the best is kept in ``folder``.

    Each epoch leaves a checkpoint, from which the next call goes on; stopped and gone on with, the result is the same
    to the last bit.

    Args:
        begin: called once nothing is left to refuse, before anything is written.
        stop: asked after each step.

    Raises:
        Preempted: ``stop`` said so; the epochs done are saved.
        UserError: captions or features are not those that the folder was started with.
        StgError: the loss is not finite.
    """
    optim = config.optim
    torch.manual_seed(config.seed)
    captions, val = dataset.references("train"), dataset.references("val")
    vocabulary = Vocabulary.build(
        (text for texts in captions.values() for text in texts),
        min_count=config.data.min_count,
        max_words=config.data.max_words,
    )
    videos = list(captions)
    widths = FeatureWidths.of(store.get(videos[0]))
    model = build_embedding(config.model, config.graph, widths=widths, vocabulary=len(vocabulary))
    fit_statistics(model, store, videos)
    model.to(device)
    trained = EmbeddingBundle(
        model,
        vocabulary,
        config.model,
        config.graph,
        widths,
        store.manifest,
        store.features_dtype,
        config.control,
    )
    data = TrainingSet(
        BatchSource(
            load_into_memory(store, videos, tell=tell) if config.data.loading == "memory" else store,
            **trained.edges,
            shuffled=sources(config, videos),
        ),
        _encode(vocabulary, captions),
        batch_videos=optim.batch_videos,
        captions_per_video=optim.captions_per_video,
        epoch_captions=optim.epoch_captions,
        seed=config.seed,
    )
    weights = list(model.parameters())
    optimiser = OPTIMISERS["adam"](weights, OptimConfig(lr=optim.lr, weight_decay=optim.weight_decay))
    checkpoints = Checkpoints(folder / "checkpoints")
    header = checkpoints.restore(model, optimiser, warn=tell)
    at = Position(**header["position"]) if header else Position()
    made_of = {
        "captions": vocabulary.fingerprint,
        "features": hashlib.sha256(json.dumps(store.manifest, sort_keys=True).encode()).hexdigest(),
    }
    if changed := [name for name, value in made_of.items() if header and header[name] != value]:
        raise UserError(f"the {' and '.join(changed)} are not those that {folder} was started with: use another --out")
    if at.done(config):
        tell(f"{folder} is finished: best sum of recalls {at.best:.3f} (epoch {at.best_epoch + 1})")
        return
    begin()
    size = sum(weight.numel() for weight in weights) / 1e6
    tell(
        f"{folder}: {dataset.name}, {len(data.captions)} training videos, {len(vocabulary)} words, "
        f"{size:.2f}M weights, {device}" + (f"; going on after epoch {at.epoch}" if at.epoch else "")
    )
    with training(console, optim.epochs) as show:
        while not at.done(config):
            model.train()
            batches, losses = data.epoch(at.epoch), []
            for number, items in enumerate(batches, 1):
                losses.append(_step(config, model, data, items, at.epoch, device))
                optimiser.step()
                show(at.epoch, number, len(batches), {"loss": losses[-1]})
                if stop():
                    kept = f"; the best is that of epoch {at.best_epoch + 1}" if at.epoch else ""
                    raise Preempted(
                        f"stopped in epoch {at.epoch + 1}, the epochs before it are in {folder}{kept}: "
                        "the same command goes on"
                    )
            found = retrieve(trained, store, val, source=sources(config, list(val)), device=device)
            at.epoch += 1
            improved = found.recall_sum > at.best
            at.stale = 0 if improved else at.stale + 1
            if improved:
                at.best, at.best_epoch = found.recall_sum, at.epoch - 1
                trained.save(folder)
            checkpoints.save(at.epoch, model, optimiser, {"position": asdict(at), **made_of})
            loss = sum(losses) / len(losses)
            append_jsonl(folder / "metrics.jsonl", {"epoch": at.epoch, "loss": loss, **found.values})
            tell(
                f"epoch {at.epoch:3d}  loss {loss:.3f}  sum of recalls {found.recall_sum:.3f}"
                + ("  best so far" if improved else "")
            )
    tell(f"best sum of recalls {at.best:.3f} (epoch {at.best_epoch + 1})")


def _step(
    config: EmbedConfig,
    model: VideoTextEmbedding,
    data: TrainingSet,
    items: Sequence[Item],
    epoch: int,
    device: torch.device,
) -> float:
    """The loss of a batch, its gradient left in the weights."""
    batch = data.load(items)
    # The sentence mark in front, which captions for teaching have, is cut off.
    words, lengths = batch.words[:, 1:], batch.real.sum(1) - 1
    model.zero_grad()
    videos = model.videos(batch.graphs.to(device))
    texts = model.texts(words.to(device), lengths.to(device))
    loss = matching_loss(
        videos, texts, batch.video.to(device), margin=config.optim.margin, hardest=epoch >= config.optim.hard_after
    )
    loss.backward()
    norm = torch.nn.utils.get_total_norm([w.grad for w in model.parameters() if w.grad is not None])
    if not bool(torch.isfinite(norm) & torch.isfinite(loss)):
        raise StgError(
            f"loss or gradient is not finite in epoch {epoch + 1} (videos "
            f"{', '.join(item.video for item in items[:3])} ...); epochs before are intact: lower --optim.lr or "
            "check the store"
        )
    if config.optim.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), config.optim.clip_norm, norm)
    return loss.item()
