"""A data set and its store, ready to train on."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from graphs import GraphStore, StoreError
from stg.config.data import DataConfig, WorldConfig
from stg.config.schema import describe, differences
from stg.config.store import TrackConfig
from stg.datasets.annotation import Language
from stg.datasets.base import CaptionDataset, join_datasets
from stg.datasets.folder import read_folder
from stg.datasets.msrvtt import read_msrvtt
from stg.datasets.msvd import read_msvd
from stg.datasets.vatex import read_vatex
from stg.datasets.world.dataset import World
from stg.features.extractor import Extractor
from stg.features.ingestion import ingest, prefetch
from stg.features.log import ExtractionLog, compare
from stg.runtime.errors import StgError, UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import Spellings, counted, normal_id, shown, some
from stg.runtime.reporter import SILENT, Reporter
from stg.runtime.signals import until_stopped
from stg.video.clips import list_clips
from stg.video.decoding import video_id

TRAINING = ("train", "val")
"""The splits that a training reads."""

_COMPARED = 10_000
"""Most names that are compared with a missing one; a comparison takes some microseconds."""

Reader = Callable[[str, Language], CaptionDataset]

READERS: Mapping[str, Reader] = {
    "msvd": lambda root, language: read_msvd(root),
    "msrvtt": lambda root, language: read_msrvtt(root),
    "vatex": read_vatex,
    "folder": read_folder,
}
"""Name of an annotated data set -> what reads its root folder."""


class Opening(NamedTuple):
    """What an opener may use of its caller; see `open_dataset`."""

    reporter: Reporter = SILENT
    alone: Callable[[], AbstractContextManager[object]] = nullcontext
    splits: Collection[str] = ()


@dataclass(frozen=True)
class OpenDataset:
    """``dataset`` restricted to the videos that ``store`` holds and that have captions (if those are not withheld)."""

    dataset: CaptionDataset
    store: GraphStore


def open_dataset(
    data: DataConfig,
    world: WorldConfig,
    *,
    reporter: Reporter = SILENT,
    alone: Callable[[], AbstractContextManager[object]] = nullcontext,
    splits: Collection[str] = (),
) -> OpenDataset:
    """Open the captions and the graphs; the built-in world is made first where it is not there yet.

    Several data sets (``data.more``) are opened as one; coverage and its limits are those of each. All
    missing videos are listed in ``STORE.missing.jsonl``, split and id each; without any there is no such file.

    Args:
        reporter: receives the progress while the world is made, and lines for the user: what the reading left out,
            faults of the annotation, the coverage of each split as a table, the first missing videos.
        alone: entered where the world has to be made: one process at a time makes it, the others find it made.
        splits: those that the caller reads: no other is made, asked for or reported, and one video of each is enough.
            By default the caller trains: all are made and reported, and of train and val there must be at least
            ``data.min_coverage``.

    Raises:
        UserError: files are missing or malformed; the annotation is not clean and ``data.strict`` is set; there is no
            train or val to train on; two data sets list the same video; a split that is read has captions and is
            covered too little, or none of its videos has any.
        Preempted: ``reporter`` asked to stop while the world was made.
    """
    parts, store = _parts(data, world, Opening(reporter, alone, splits))
    captioned = [part.captioned() for part in parts]
    joined = join_datasets(captioned) if len(parts) > 1 else captioned[0]
    asked = [part.only(splits) if splits else part for part in parts]
    names = [f"{part.name} " if len(parts) > 1 else "" for part in parts]
    for name, part in zip(names, asked, strict=True):
        if data.dataset != "world" or part.missing:
            for line in part.coverage_table(name):
                reporter.say(line)
    _list_missing(asked, Path(f"{store.path}.missing.jsonl"), reporter)
    for each, part in zip(data.sets.values(), asked, strict=True):
        if each.dataset == "folder" and each.root is not None:
            _compare_clips(each.root, part, store, reporter)
    for place, (name, part) in enumerate(zip(names, parts, strict=True)):
        for split in asked[place].splits:
            required = split in (splits or TRAINING)
            least = 0.0 if splits else data.min_coverage
            _check_split(split, part, captioned[place], store, least, required=required)
            if part.missing.get(split):
                _say_missing(f"{name}{split}", split, part, reporter)
    if data.min_coverage == DataConfig.min_coverage:
        read = {
            f"{name}{split}": (part.splits[split], part.missing.get(split, ()))
            for name, part in zip(names, asked, strict=True)
            for split in part.splits
            if split in (splits or TRAINING)
        }
        _compare_names(read, parts, store, reporter)
    return OpenDataset(joined, store)


def _parts(data: DataConfig, world: WorldConfig, opening: Opening) -> tuple[list[CaptionDataset], GraphStore]:
    """Each data set with the videos that are in the store, and the store."""
    parts, store = list[CaptionDataset](), None
    for each in data.sets.values():
        found = DATASETS[each.dataset](each, world, opening)
        # What else is learned from may go without val: the first has one.
        needed = TRAINING if store is None else TRAINING[:1]
        absent = [split for split in needed if split not in found.dataset.splits and not opening.splits]
        if absent:
            there = ", ".join(found.dataset.splits)
            raise UserError(
                f"{found.dataset.name} has no video of the split {absent[0]!r}, only of {there}: training needs "
                f"{' and '.join(needed)}; is the annotation whole?"
            )
        if store is None:
            store = found.store
        else:
            found.store.close()
        # Splits keep what can be read; what is missing is counted, listed, and refused beyond a share.
        keys = store.keys()
        try:
            parts.append(found.dataset.spelt(Spellings(keys, store.path)).restrict(set(keys)))
        except UserError as error:
            if not data.more:
                raise
            merge = "all data sets share one store, which python -m stg.store merge A B --out STORE makes of several"
            raise UserError(f"{error}; {merge}") from error
    assert store is not None
    return parts, store


def _check_split(
    split: str,
    dataset: CaptionDataset,
    captioned: CaptionDataset,
    store: GraphStore,
    least: float,
    *,
    required: bool,
) -> None:
    # A split without captions is never learned from or scored, so that few of its videos do no harm.
    if not required or split in dataset.unlabelled:
        return
    # Coverage is of all videos, whether they have captions or not.
    videos, missing = dataset.splits[split], dataset.missing.get(split, ())
    known = len(videos) + len(missing)
    short = f"split {split!r} of {dataset.name}: {len(videos)} of {known} videos are in {store.path}"
    if not videos:
        raise UserError(f"{short}: extract its clips into this store, or give one that holds them")
    if len(videos) < least * known:
        raise UserError(f"{short}, less than --data.min_coverage {least}: extract the missing clips or lower the limit")
    if not captioned.splits[split]:
        raise UserError(f"split {split!r} of {dataset.name}: of {counted(len(videos), 'video')} none has a caption")


def _say_missing(name: str, split: str, dataset: CaptionDataset, reporter: Reporter) -> None:
    """Say how many videos of a split are missing."""
    missing = dataset.missing[split]
    known = len(dataset.splits[split]) + len(missing)
    reporter.say(f"{name}: {len(missing)} of {known} videos are missing ({some(missing)}); scores do not cover them")


def _compare_names(
    read: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    parts: Sequence[CaptionDataset],
    store: GraphStore,
    reporter: Reporter,
) -> None:
    """Warn, once, where names seem to differ: most videos of a split have no graph, and graphs are there that no
    caption names. Where all are named, the data are a part of what the annotation lists, which is no fault.

    Args:
        read: name of a split -> its videos with a graph, and those without.
        parts: all data sets, whose captions and splits name keys of the store.
    """
    few = {name: (there, missing) for name, (there, missing) in read.items() if len(missing) > len(there)}
    named = set[str]().union(*(part.captions for part in parts), *(v for part in parts for v in part.splits.values()))
    if not few or not (unnamed := [key for key in store if key not in named]):
        return
    missing = [video for _, videos in few.values() for video in videos]
    there = sum(len(videos) for videos, _ in few.values())
    reporter.say(
        f"warning: only {there} of the {there + len(missing)} videos of {', '.join(few)} have a graph in {store.path}, "
        f"and {counted(len(unnamed), 'graph')} there {'is' if len(unnamed) == 1 else 'are'} named by no caption "
        f"({some(unnamed)}): check the names{_near(missing, unnamed)}; where so few are meant, say so by "
        "--data.min_coverage"
    )


def _near(missing: Sequence[str], unnamed: Sequence[str]) -> str:
    """Names of the store that no caption names, next to the missing ones that they may stand for."""
    folded = {name.casefold(): name for name in unnamed[:_COMPARED]}
    pairs = []
    for video in missing[:3]:
        for found in get_close_matches(video.casefold(), folded, 1):
            pairs.append(f"{shown(video)} may be {shown(folded[found])}")
    return f" ({', '.join(pairs)})" if pairs else ""


def _list_missing(datasets: Sequence[CaptionDataset], path: Path, reporter: Reporter) -> None:
    rows = [
        {"split": split, "id": video} | ({"dataset": dataset.name} if len(datasets) > 1 else {})
        for dataset in datasets
        for split, videos in dataset.missing.items()
        for video in videos
    ]
    try:
        if rows:
            write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            reporter.say(f"all missing videos ({len(rows)}) are listed in {path}")
        else:
            # The list of an earlier call, when clips were still missing, would be wrong now.
            path.unlink(missing_ok=True)
    except (StgError, OSError) as error:  # a store that is only read may lie where nobody may write
        reporter.say(f"the list of missing videos is not up to date: {error}")


def _compare_clips(root: str, dataset: CaptionDataset, store: GraphStore, reporter: Reporter) -> None:
    """Say which clips of a folder are other files now than those that the store was made from."""
    try:
        paths = list_clips((root,), recursive=True).paths
    except UserError:  # captions alone: the clips lie elsewhere
        return
    wanted = {normal_id(video): video for videos in dataset.splits.values() for video in videos}
    # Those of subfolders first, as one of the folder itself comes before another of its name.
    found = {video_id(path): path for path in sorted(paths, key=lambda path: -len(path.parts))}
    log = ExtractionLog(store.path)
    changes = compare(log.rows(), {wanted[video]: path for video, path in found.items() if video in wanted})
    with suppress(StgError, OSError):  # noted, as in `stg.extract`, so that the same file is not hashed again
        for row in changes.touched.values():
            log.note(row)
    if changes.replaced:
        reporter.say(f"warning: {changes.words()}: its features are those of before; extract --refresh makes them anew")


def captions_read(data: DataConfig, world: WorldConfig) -> Mapping[str, Sequence[str]]:
    """Video -> captions of a data set, or of several, without its store if it can be read so.

    Raises:
        UserError: the annotation cannot be read.
    """
    if data.more:
        return {video: texts for each in data.sets.values() for video, texts in captions_read(each, world).items()}
    if data.dataset == "world":
        return World.of(world).dataset().captions
    if data.dataset in READERS:
        return READERS[data.dataset](data.root or "", data.language).captions
    opened = DATASETS[data.dataset](data, world, Opening())
    opened.store.close()
    return opened.dataset.captions


def _world(data: DataConfig, world: WorldConfig, opening: Opening) -> OpenDataset:
    made = World.of(world)
    dataset = made.dataset()
    extractor = Extractor(made.detector(), made.backbone())
    manifest = {**extractor.manifest(), "tracks": asdict(TrackConfig())}
    # Another world, or other ways of seeing it, get another file: none is ever mixed into a store.
    key = json.dumps([asdict(world), manifest], sort_keys=True, default=str)
    default = Path("stores") / f"world-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    path = Path(data.store) if data.store else default
    made_now = dataset.only(opening.splits) if opening.splits else dataset
    videos = [video for split in made_now.splits.values() for video in split]
    with suppress(StoreError):  # another process may be making it at this moment
        if (whole := _whole(path, videos, manifest)) is not None:
            return OpenDataset(dataset, whole)
    with opening.alone():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Asked again: whoever held the lock may have made it meanwhile.
        if (whole := _whole(path, videos, manifest)) is not None:
            return OpenDataset(dataset, whole)
        with GraphStore(path, "a") as store, opening.reporter.bar("making the videos' graphs") as progress:
            # A stop is seen between two videos: what is done stays, and the next call adds the rest.
            progress = until_stopped(progress, opening.reporter.should_stop)
            log = ExtractionLog(path.with_suffix(""), clips=False)
            ingest(store, videos, prefetch(made.sample), extractor, manifest=manifest, progress=progress, log=log)
            log.settle(store)
    return OpenDataset(dataset, GraphStore(path))


def _whole(path: Path, videos: Sequence[str], manifest: Mapping[str, Any]) -> GraphStore | None:
    """The store, if it is there with all videos."""
    if not path.exists():
        return None
    store = GraphStore(path)
    lacking = sum(video not in store for video in videos)
    # An empty store is one that another process has only begun.
    if len(store):
        _check_world(store, manifest, lacking)
    if not lacking:
        return store
    store.close()
    return None


def _check_world(store: GraphStore, manifest: Mapping[str, Any], lacking: int) -> None:
    """Refuse the graphs of another world, whose videos have the same ids; other edges are welcome where none lacks."""
    # The same videos under other edges or tracks are the point of such a store; old ones have no tracks.
    there, here = (
        {name: value for name, value in made.items() if name not in ("edges", "tracks")}
        for made in (store.manifest, json.loads(json.dumps(manifest)))
    )
    if differing := differences(there, here):
        listed = describe(differing, "{old!r} there, now {new!r}")
        raise UserError(f"{store.path} holds graphs of another world ({listed}): give another --data.store")
    other = "edges" in store.manifest or store.manifest.get("tracks") != manifest["tracks"]
    if lacking and other:
        raise UserError(
            f"{store.path} has other edges or tracks and lacks {lacking} of the world's videos: add these to the store "
            "that it was made from, then repeat stg.store edges or tracks"
        )


def _annotated(reader: Reader, data: DataConfig, world: WorldConfig, opening: Opening) -> OpenDataset:
    if data.root is None:
        raise UserError(f"--data.dataset {data.dataset} needs --data.root: the folder with its annotation files")
    dataset = reader(data.root, data.language)
    for note in dataset.notes:
        opening.reporter.say(f"{dataset.name}: {note}")
    if data.strict:
        dataset.require_clean()
    elif problems := dataset.problem_summary():
        opening.reporter.say(f"{dataset.name}: {problems}")
    if data.store is None:
        raise UserError(
            f"--data.dataset {data.dataset} needs --data.store: make one with "
            "`python -m stg.extract CLIPS --out STORE ...`"
        )
    return OpenDataset(dataset, GraphStore(data.store))


DATASETS: dict[str, Callable[[DataConfig, WorldConfig, Opening], OpenDataset]] = {
    "world": _world,
    **{name: partial(_annotated, reader) for name, reader in READERS.items()},
}
"""Name -> what opens a data set: captions and splits of all its videos, and the store with their graphs."""
