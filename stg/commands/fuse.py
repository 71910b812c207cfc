"""Fuse the captions of several runs."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from rich.console import Console

from graphs import GraphStore
from stg.captioning.ensemble import (
    Member,
    check_vocabularies,
    ensemble_captions,
    member_candidates,
    pool,
    rerank,
    similarities,
)
from stg.config.retrieval import FuseConfig
from stg.evaluation.loaded_run import batch_source, load_run
from stg.evaluation.predictions import merge, read_predicted, short_names, write_captions
from stg.evaluation.printing import score_table
from stg.metrics.scorer import Scorer, Scores
from stg.models.generation import Caption
from stg.retrieval.embedding import EmbeddingBundle
from stg.runs.folder import load_config
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.progress import ConsoleReporter, advance_by
from stg.runtime.reporter import Reporter
from stg.text.words import broken_endings


@dataclass(frozen=True)
class Fused:
    """The captions of a fusion, whose each is (a run's, several runs', the fallback file's), and the table's scores."""

    captions: Mapping[str, str]
    origin: Mapping[str, str]
    scores: Mapping[str, Scores]


def main(config: FuseConfig) -> int:
    """The command."""

    fuse(config, console=Console())
    return 0


def fuse(config: FuseConfig, *, console: Console) -> Fused:
    """Caption the split, write the captions, and score them where there are references.

    Raises:
        UserError: no such run, split or embedding; features made otherwise than in training; unlike data sets or (for
            an ensemble) vocabularies; the output cannot be written there; videos without any caption.
    """
    reporter = ConsoleReporter(console)
    tell = reporter.say
    _check_out(config)
    spare = read_predicted(config.fallback) if config.fallback is not None else {}
    device = pick_device(config.device)
    names = [config.runs[0]] if len(config.runs) == 1 else short_names(config.runs)
    members = [_open(run, name, config, reporter) for run, name in zip(config.runs, names, strict=True)]
    if len(kinds := {member.dataset.name for member in members}) > 1:
        raise UserError(f"the runs are of unlike data sets: {' and '.join(sorted(kinds))}; fuse runs of one")
    for member in members[1:]:
        for video in members[0].dataset.captions.keys() & member.dataset.captions.keys():
            if members[0].dataset.captions[video] != member.dataset.captions[video]:
                raise UserError(
                    f"{names[0]} and {member.name} know other captions of video {video!r}: fuse runs of one data set"
                )
    choose = _chooser(config, members, device, tell) if config.method == "rerank" else None
    if choose is None:
        check_vocabularies(members)

    search = config.searched()
    found: list[dict[str, list[Caption]]] = []
    for member in members:
        videos = member.dataset.splits[config.split]
        with reporter.bar(f"captioning, {member.name}") as progress:
            advance = advance_by(progress, len(videos))
            found.append(member_candidates(member, videos, search, device=device, advance=advance))
    if choose is not None:
        fused, origin = choose(found)
    else:
        asked = {video: [at for at, said in enumerate(found) if video in said] for said in found for video in said}
        with reporter.bar("captioning, together") as progress:
            advance = advance_by(progress, len(asked))
            together = ensemble_captions(members, asked, search, device=device, advance=advance)
        fused = {video: caption.text for video, caption in together.items()}
        origin = {video: " + ".join(names[at] for at in asked[video]) for video in fused}

    wanted = _wanted(members, config.split)
    if config.fallback is None and config.form == "coco":
        if absent := sum(video not in fused for video in wanted):
            tell(f"{absent} videos of {config.split} are in none of the runs and left out: --fallback FILE fills them")
        wanted = [video for video in wanted if video in fused]
    captions, source = merge([fused, spare], wanted)
    origin = {
        video: str(config.fallback) if place else origin[video] for video, place in zip(captions, source, strict=True)
    }
    write_captions(config.out, captions, config.form)
    for whose, count in Counter(origin.values()).items():
        tell(f"{count} captions from {whose}")
    alone = {
        name: {video: best[0].text for video, best in said.items()} for name, said in zip(names, found, strict=True)
    }
    said = {**alone, "ensemble" if choose is None else "fused": captions}
    scores = _score(config, members, said, console, tell)
    _write_record(config, said, origin, scores)
    tell(f"{len(captions)} captions are in {config.out}, with how they came about in {_record_file(config)}")
    return Fused(captions, origin, scores)


def _check_out(config: FuseConfig) -> None:
    """Refuse what could not be written before the work is done."""
    out = Path(config.out)
    if not out.parent.is_dir():
        raise UserError(f"the folder {out.parent} of --out does not exist: make it first")
    if config.fallback is not None and out.resolve() == Path(config.fallback).resolve():
        raise UserError(f"{config.out} is --out and --fallback: choose another --out")
    for path in (out, _record_file(config)):
        if path.is_dir():
            raise UserError(f"{path} is a folder: --out is the file to write")
        if path.exists() and not config.force:
            raise UserError(f"{path} is there already: choose another --out, or add --force to replace it")


def _open(run: str, name: str, config: FuseConfig, reporter: Reporter) -> Member:
    settings = load_config(run)
    if settings.run.control != "none":
        raise UserError(f"{run} is a control ({settings.run.control}), whose captions tell nothing of the videos")
    reporter.say(f"{name}:")
    opened = load_run(run, device="cpu", reporter=reporter)
    opened.require_split(config.split)
    trained, dataset = opened.trained, opened.dataset
    return Member(name, trained, dataset, opened.store, batch_source(trained, opened.store, dataset))


def _chooser(
    config: FuseConfig, members: Sequence[Member], device: torch.device, tell: Callable[[str], None]
) -> Callable[[Sequence[Mapping[str, Sequence[Caption]]]], tuple[dict[str, str], dict[str, str]]]:
    """What turns the runs' candidates into captions and the names of the runs that they are of."""

    embedding = EmbeddingBundle.load(str(config.embedding))
    if embedding.control != "none":
        raise UserError(f"{config.embedding} is a control ({embedding.control}), which knows nothing of the videos")
    store = _fitting_store(config, members, embedding)

    def choose(found: Sequence[Mapping[str, Sequence[Caption]]]) -> tuple[dict[str, str], dict[str, str]]:
        pooled = pool(found)
        cosines = similarities(embedding, store, pooled, device)
        if blind := len(pooled) - len(cosines):
            tell(f"{blind} videos have no features for the embedding in {store.path}: their likeliest caption is taken")
        best = rerank(pooled, cosines, config.mix)
        texts = {video: one.text for video, one in best.items()}
        return texts, {video: members[one.member].name for video, one in best.items()}

    return choose


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


def _wanted(members: Sequence[Member], split: str) -> list[str]:
    """All videos of the split, those that no store has too, in the order of the first run's data set."""
    there = [video for member in members for video in member.dataset.splits[split]]
    absent = [video for member in members for video in member.dataset.missing.get(split, ())]
    return list(dict.fromkeys([*there, *absent]))


def _score(
    config: FuseConfig,
    members: Sequence[Member],
    said: Mapping[str, Mapping[str, str]],
    console: Console,
    tell: Callable[[str], None],
) -> dict[str, Scores]:
    """The scores of each run and of the fusion, all on the videos that all have: others would not compare."""

    if any(config.split in member.dataset.unlabelled for member in members):
        tell(f"the captions of {config.split} are withheld: nothing is scored")
        return {}
    references = {video: texts for member in members for video, texts in member.dataset.captions.items()}
    common = [
        video
        for video in _wanted(members, config.split)
        if references.get(video) and all(video in captions for captions in said.values())
    ]
    if not common:
        tell("no video has references and captions of all runs: nothing is scored")
        return {}
    metrics = ("bleu", "meteor", "rouge", "cider") if config.meteor else ("bleu", "rouge", "cider")
    scores = {}
    with Scorer({video: references[video] for video in common}) as scorer:
        for name, captions in said.items():
            with console.status(f"scoring, {name}"):
                scores[name] = scorer.score({video: captions[video] for video in common}, metrics=metrics)
    title = f"{members[0].dataset.name} {config.split}, {len(common)} videos that all runs have"
    console.print(score_table(scores, title=title))
    for metric, reason in next(iter(scores.values())).unavailable.items():
        tell(f"{metric}: {reason}")
    return scores


def _record_file(config: FuseConfig) -> Path:
    out = Path(config.out)
    return out.with_name(f"{out.stem}-scores.json")


def _write_record(
    config: FuseConfig,
    said: Mapping[str, Mapping[str, str]],
    origin: Mapping[str, str],
    scores: Mapping[str, Scores],
) -> None:

    record = {
        **asdict(config),
        "search": asdict(config.searched()),
        "origin": Counter(origin.values()),
        "broken_endings": {name: broken_endings(captions.values()) for name, captions in said.items()},
        "videos": {name: found.videos for name, found in scores.items()},
        "scores": {name: found.values for name, found in scores.items()},
        "unavailable": {name: found.unavailable for name, found in scores.items()},
    }
    write_atomic(_record_file(config), json.dumps(record, indent=1, ensure_ascii=False))
