"""Late fusion of runs: a video-text embedding chooses among their captions, or all choose each word together."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from graphs import GraphStore
from stg.captioning.ensemble import (
    Embedding,
    Member,
    check_vocabularies,
    ensemble_captions,
    member_candidates,
    pool,
    rerank,
    similarities,
)
from stg.config.retrieval import FuseConfig
from stg.config.schema import to_dict
from stg.data.feature_check import compare_versions
from stg.evaluation.loaded_run import batch_source, load_run, say_other_sets
from stg.evaluation.predictions import merge, read_predicted, short_names, write_captions
from stg.metrics.scorer import Scorer, Scores
from stg.models.generation import Caption
from stg.retrieval.embedding import EmbeddingBundle
from stg.runs.folder import load_config
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.progress import advance_by
from stg.runtime.reading import counted
from stg.runtime.reporter import SILENT, Reporter
from stg.text.words import broken_endings

Found = Sequence[Mapping[str, Sequence[Caption]]]
"""Of each run, video -> captions, best first."""


@dataclass(frozen=True)
class Fused:
    """What came of a fusion.

    Attributes:
        dataset: the name of the runs' data set.
        captions: video -> the caption that was written.
        origin: video -> whose caption that is: of a run, of several together, or of the fallback file.
        scores: name -> scores of each run alone and of the fusion; none where nothing could be scored.
    """

    dataset: str
    captions: Mapping[str, str]
    origin: Mapping[str, str]
    scores: Mapping[str, Scores]


def fuse(config: FuseConfig, *, reporter: Reporter = SILENT) -> Fused:
    """Caption the split, write the captions, and score them if there are references.

    Raises:
        UserError: no such run, split or embedding; features made otherwise than in training; unlike data sets or (for
            an ensemble) vocabularies; the output cannot be written there; videos without any caption.
    """
    # What cannot be is refused before the captions are made, which takes long.
    _check_out(config)
    spare = read_predicted(config.fallback) if config.fallback is not None else {}
    device = pick_device(config.device)
    members = _open_members(config, reporter)
    ranker = _open_embedding(config, members, reporter) if config.method == "rerank" else None
    if ranker is None:
        check_vocabularies(members)

    # The runs are scored alone, too, so that an ensemble also needs the captions of each.
    found = _caption_each(config, members, device, reporter)
    if ranker is not None:
        fused, origin = _choose(members, found, *ranker, config.mix, device, reporter)
    else:
        fused, origin = _caption_together(config, members, found, device, reporter)

    wanted = _wanted(members, config.split)
    # A submission with gaps is refused by VATEX's server, and a fallback is given to leave none: `merge` refuses then.
    if config.fallback is None and config.form == "coco":
        if absent := sum(video not in fused for video in wanted):
            reporter.say(
                f"{counted(absent, 'video')} of {config.split} left out, in none of the runs: --fallback FILE fills in"
            )
        wanted = [video for video in wanted if video in fused]
    captions, source = merge([fused, spare], wanted)
    origin = {
        video: str(config.fallback) if place else origin[video] for video, place in zip(captions, source, strict=True)
    }
    write_captions(config.out, captions, config.form)
    for whose, count in Counter(origin.values()).items():
        reporter.say(f"{counted(count, 'caption')} from {whose}")

    written = {
        member.name: {video: best[0].text for video, best in captions_of.items()}
        for member, captions_of in zip(members, found, strict=True)
    }
    written["ensemble" if ranker is None else "fused"] = captions
    scores = _score(config, members, written, reporter)
    _write_record(config, written, origin, scores)
    return Fused(members[0].dataset.name, captions, origin, scores)


def _check_out(config: FuseConfig) -> None:
    """Refuse what could not be written before the work is done."""
    out = Path(config.out)
    if not out.parent.is_dir():
        raise UserError(f"the folder {out.parent} of --out does not exist: make it first")
    if config.fallback is not None and out.resolve() == Path(config.fallback).resolve():
        raise UserError(f"{config.out} is --out and --fallback: choose another --out")
    for path in (out, record_file(config.out)):
        if path.is_dir():
            raise UserError(f"{path} is a folder: --out is the file to write")
        if path.exists() and not config.force:
            raise UserError(f"{path} is there already: choose another --out, or add --force to replace it")


# --- runs and embedding


def _open_members(config: FuseConfig, reporter: Reporter) -> list[Member]:
    """The runs, all of one data set."""
    names = [config.runs[0]] if len(config.runs) == 1 else short_names(config.runs)
    members = [_open(config, run, name, reporter) for run, name in zip(config.runs, names, strict=True)]
    first, *others = members
    if len(kinds := {member.dataset.name for member in members}) > 1:
        raise UserError(f"the runs are of unlike data sets: {' and '.join(sorted(kinds))}; fuse runs of one")
    for member in others:
        # Data sets of one name may be of different versions: then scores would be of other references.
        for video in first.dataset.captions.keys() & member.dataset.captions.keys():
            if first.dataset.captions[video] != member.dataset.captions[video]:
                raise UserError(
                    f"{first.name} and {member.name} know other captions of video {video!r}: fuse runs of one data set"
                )
    return members


def _open(config: FuseConfig, run: str, name: str, reporter: Reporter) -> Member:
    settings = load_config(run)
    if settings.run.control != "none":
        raise UserError(f"{run} is a control ({settings.run.control}), whose captions say nothing about the videos")
    reporter.say(f"{name}:")
    # On the CPU: several models may not fit a GPU at once; each is moved there when it captions.
    opened = load_run(
        run,
        store=config.store,
        root=config.root,
        device="cpu",
        splits=(config.split,),
        dataset=config.dataset,
        reporter=reporter,
    )
    opened.require_split(config.split)
    say_other_sets(opened, reporter)
    trained, dataset = opened.trained, opened.dataset
    return Member(name, trained, dataset, opened.store, batch_source(trained, opened.store, dataset))


def _open_embedding(config: FuseConfig, members: Sequence[Member], reporter: Reporter) -> tuple[Embedding, GraphStore]:
    """The embedding, and the store whose features it reads."""
    embedding = EmbeddingBundle.load(str(config.embedding))
    if embedding.control != "none":
        raise UserError(f"{config.embedding} is a control ({embedding.control}), which knows nothing of the videos")
    store = _fitting_store(config, members, embedding)
    compare_versions(embedding.made_with, store, str(config.embedding), reporter)
    return embedding, store


@runtime_checkable
class _Checked(Protocol):
    def check(self, store: GraphStore) -> None: ...


def _fitting_store(config: FuseConfig, members: Sequence[Member], embedding: _Checked) -> GraphStore:
    if config.embedding_store is not None:
        store = GraphStore(config.embedding_store)
        embedding.check(store)
        return store
    refused = ""
    for member in members:
        try:
            embedding.check(member.store)
        except UserError as error:
            refused = refused or str(error)
        else:
            return member.store
    raise UserError(f"no run's features are those of the embedding; give --embedding_store. The first run's: {refused}")


# --- captions


def _caption_each(
    config: FuseConfig, members: Sequence[Member], device: torch.device, reporter: Reporter
) -> list[dict[str, list[Caption]]]:
    found = []
    for member in members:
        videos = member.dataset.splits[config.split]
        with reporter.bar(f"captioning, {member.name}") as progress:
            advance = advance_by(progress, len(videos))
            found.append(member_candidates(member, videos, config.searched(), device=device, advance=advance))
    return found


def _choose(
    members: Sequence[Member],
    found: Found,
    embedding: Embedding,
    store: GraphStore,
    mix: float,
    device: torch.device,
    reporter: Reporter,
) -> tuple[dict[str, str], dict[str, str]]:
    """Of each video the caption that the embedding finds closest, and the name of the run that offered it."""
    pooled = pool(found)
    cosines = similarities(embedding, store, pooled, device)
    if blind := len(pooled) - len(cosines):
        reporter.say(
            f"{counted(blind, 'video', 'has', 'have')} no features for the embedding in {store.path}: the "
            "likeliest caption is taken there"
        )
    best = rerank(pooled, cosines, mix)
    texts = {video: one.text for video, one in best.items()}
    return texts, {video: members[one.member].name for video, one in best.items() if one.member is not None}


def _caption_together(
    config: FuseConfig, members: Sequence[Member], found: Found, device: torch.device, reporter: Reporter
) -> tuple[dict[str, str], dict[str, str]]:
    """Of each video the caption of all runs that have it, word by word, and the names of these runs."""
    asked = {video: [at for at, each in enumerate(found) if video in each] for each in found for video in each}
    with reporter.bar("captioning, together") as progress:
        advance = advance_by(progress, len(asked))
        together = ensemble_captions(members, asked, config.searched(), device=device, advance=advance)
    texts = {video: caption.text for video, caption in together.items()}
    return texts, {video: " + ".join(members[at].name for at in asked[video]) for video in texts}


def _wanted(members: Sequence[Member], split: str) -> list[str]:
    """All videos of the split, those that no store has too, in the order of the first run's data set."""
    there = [video for member in members for video in member.dataset.splits[split]]
    absent = [video for member in members for video in member.dataset.missing.get(split, ())]
    return list(dict.fromkeys([*there, *absent]))


# --- scores


def _score(
    config: FuseConfig, members: Sequence[Member], written: Mapping[str, Mapping[str, str]], reporter: Reporter
) -> dict[str, Scores]:
    """The scores of each run and of the fusion, all on the videos that all have: others would not compare."""
    if any(config.split in member.dataset.unlabelled for member in members):
        reporter.say(f"the captions of {config.split} are withheld: nothing is scored")
        return {}
    references = {video: texts for member in members for video, texts in member.dataset.captions.items()}
    common = [
        video
        for video in _wanted(members, config.split)
        if references.get(video) and all(video in captions for captions in written.values())
    ]
    if not common:
        reporter.say("no video has references and captions of all runs: nothing is scored")
        return {}
    metrics = ("bleu", "meteor", "rouge", "cider") if config.meteor else ("bleu", "rouge", "cider")
    scores = {}
    # One scorer for all: the references are tokenised and counted once.
    with Scorer({video: references[video] for video in common}) as scorer:
        for name, captions in written.items():
            with reporter.bar(f"scoring, {name}") as progress:
                progress(0, len(common))
                scores[name] = scorer.score({video: captions[video] for video in common}, metrics=metrics)
    return scores


def record_file(out: str | Path) -> Path:
    """Where the scores and the origin of the captions in ``out`` are written: next to it."""
    return Path(out).with_name(f"{Path(out).stem}-scores.json")


def _write_record(
    config: FuseConfig,
    written: Mapping[str, Mapping[str, str]],
    origin: Mapping[str, str],
    scores: Mapping[str, Scores],
) -> None:
    record = {
        **asdict(config),
        "search": to_dict(config.searched()),
        "origin": Counter(origin.values()),
        "broken_endings": {name: broken_endings(captions.values()) for name, captions in written.items()},
        "videos": {name: found.videos for name, found in scores.items()},
        "scores": {name: found.values for name, found in scores.items()},
        "unavailable": {name: found.unavailable for name, found in scores.items()},
    }
    write_atomic(record_file(config.out), json.dumps(record, indent=1, ensure_ascii=False))
