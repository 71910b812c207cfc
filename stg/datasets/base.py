"""A captioned data set: which videos, which captions, which split."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stg.runtime.errors import UserError
from stg.runtime.reading import some


@dataclass(frozen=True)
class CaptionDataset:
    """Videos of one data set with their captions and splits; video ids are the keys of the graph store.

    A video in two splits is refused always: scores on it would be worthless. Lesser faults (a video twice in one
    split, a video without captions, captions without a video) are reported by :meth:`problems` and refused by
    :meth:`require_clean`.

    Args:
        name: what reports call the data set.
        captions: video -> its captions, in the order of the annotation.
        splits: split -> its videos, those that are there.
        missing: split -> videos that the annotation lists but that are not there (no clip, no features).
        category: video -> its class, where the data set has classes (MSR-VTT: 0 to 19).
        unlabelled: splits whose captions are withheld (a challenge's private test), where none are no fault.
        notes: lines for the user from the reading: what was left out, how splits were made, numbers that look wrong.
        parts: the data sets that it joins (`join_datasets`); none for a single one.

    Raises:
        UserError: a video is in two splits.
    """

    name: str
    captions: Mapping[str, Sequence[str]]
    splits: Mapping[str, Sequence[str]]
    missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    category: Mapping[str, int] = field(default_factory=dict)
    unlabelled: Collection[str] = ()
    notes: Sequence[str] = ()
    parts: Sequence["CaptionDataset"] = ()

    def __post_init__(self) -> None:
        home: dict[str, str] = {}
        # Missing videos count too: one may be there on another machine, and in two splits at once.
        for part in (self.splits, self.missing):
            for split, videos in part.items():
                for video in videos:
                    if home.setdefault(video, split) != split:
                        raise UserError(
                            f"video {video!r} of {self.name} is in two splits, {home[video]!r} and {split!r}: "
                            "scores on it would be worthless; take it out of one of them"
                        )

    def videos(self, split: str) -> list[str]:
        """Videos of a split, in order.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.splits:
            raise UserError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        return list(self.splits[split])

    def references(self, split: str) -> dict[str, list[str]]:
        """Video -> captions for the videos of a split that have any, in order: what scores are computed against."""
        return {video: list(self.captions[video]) for video in self.videos(split) if self.captions.get(video)}

    def groups(self, videos: Sequence[str]) -> list[list[str]]:
        """Some videos by the data set that they are of: as many lists as there are data sets, in order."""
        if not self.parts:
            return [list(videos)]
        homes = [part.captions.keys() | set().union(*part.splits.values()) for part in self.parts]
        return [[video for video in videos if video in home] for home in homes]

    def upsampled(self, times: int | None) -> dict[str, int]:
        """The training videos of all data sets but the first -> ``times``; empty where there is none."""
        if times is None:
            return {}
        return {video: times for group in self.groups(self.videos("train"))[1:] for video in group}

    def restrict(self, available: Iterable[str]) -> "CaptionDataset":
        """The same data set with only the ``available`` videos in its splits; the others go to ``missing``.

        Args:
            available: ids that are there, such as the keys of a store; ids of other data sets do no harm.

        Raises:
            UserError: none of the videos is available, which says that the ids do not match at all.
        """
        there = set(available)
        splits = {split: [v for v in videos if v in there] for split, videos in self.splits.items()}
        gone = {split: [v for v in videos if v not in there] for split, videos in self.splits.items()}
        # Nothing in common is no coverage of 0 %, but another data set or another form of the ids.
        if any(self.splits.values()) and not any(splits.values()):
            first = next(video for videos in self.splits.values() for video in videos)
            other = f"such as {min(there)!r}" if there else "which are none"
            raise UserError(
                f"none of the videos of {self.name} (such as {first!r}) is among the {len(there)} available ones, "
                f"{other}; check that clips or features of this very data set were given"
            )
        for split, videos in self.missing.items():
            # What was missing before stays so: a data set may be restricted more than once.
            gone[split] = [*videos, *gone.get(split, [])]
        return replace(self, splits=splits, missing={split: videos for split, videos in gone.items() if videos})

    def spelt(self, spelling: Callable[[str], str]) -> "CaptionDataset":
        """The same data set with its ids as ``spelling`` has them, such as those of a store."""
        return replace(
            self,
            captions={spelling(video): texts for video, texts in self.captions.items()},
            splits={split: [spelling(video) for video in videos] for split, videos in self.splits.items()},
            missing={split: [spelling(video) for video in videos] for split, videos in self.missing.items()},
            category={spelling(video): number for video, number in self.category.items()},
        )

    def only(self, splits: Collection[str]) -> "CaptionDataset":
        """The same data set without all other splits; one that it does not have is left out."""
        return replace(
            self,
            splits={split: videos for split, videos in self.splits.items() if split in splits},
            missing={split: videos for split, videos in self.missing.items() if split in splits},
        )

    def captioned(self) -> "CaptionDataset":
        """The same data set without the videos that lack captions, which nothing can be learned from or scored on.

        Splits whose captions are withheld stay as they are.
        """
        splits = {
            split: videos if split in self.unlabelled else [video for video in videos if self.captions.get(video)]
            for split, videos in self.splits.items()
        }
        return replace(self, splits=splits)

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> how many ``videos`` are there, how many are ``missing``, how many ``captions`` the former have."""
        return {
            split: {
                "videos": len(videos),
                "missing": len(self.missing.get(split, ())),
                "captions": sum(len(self.captions.get(video, ())) for video in videos),
            }
            for split, videos in self.splits.items()
        }

    def coverage(self) -> dict[str, float]:
        """Split -> the share of its videos that is there, 1 where the split is empty."""
        return {
            split: row["videos"] / total if (total := row["videos"] + row["missing"]) else 1.0
            for split, row in self.counts().items()
        }

    def coverage_table(self, name: str = "") -> list[str]:
        """What is there of each split, as aligned lines for the user: a header, then one line a split.

        Args:
            name: put in front of each split.

        ``captions`` counts those of the videos that are present; ``share`` is cut, never rounded up.
        """
        rows = [("split", "listed", "present", "missing", "captions", "share")]
        for split, row in self.counts().items():
            total = row["videos"] + row["missing"]
            share = f"{100 * row['videos'] // total} %" if total else "-"
            rows.append(
                (f"{name}{split}", f"{total}", f"{row['videos']}", f"{row['missing']}", f"{row['captions']}", share)
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]

    def problems(self) -> dict[str, list[str]]:
        """Kind of fault -> the videos that have it; kinds without a video are left out."""
        listed = [(split, video) for split, videos in self.splits.items() for video in videos]
        # Captions of a missing video are no fault: its clip is only not here.
        known = {video for _, video in listed}.union(*self.missing.values())
        bare = [video for split, video in listed if split not in self.unlabelled and not self.captions.get(video)]
        faults = {
            "twice in one split": [video for (_, video), count in Counter(listed).items() if count > 1],
            "without captions": list(dict.fromkeys(bare)),
            "captions without a video": [video for video in self.captions if video not in known],
        }
        return {kind: videos for kind, videos in faults.items() if videos}

    def problem_summary(self) -> str:
        """:meth:`problems` on one line: each kind of fault, how many videos have it, and the first three."""
        return "; ".join(f"{kind}: {len(videos)} ({some(videos)})" for kind, videos in self.problems().items())

    def require_clean(self) -> None:
        """Refuse what :meth:`problems` finds.

        Raises:
            UserError: names each kind of fault, how many videos have it, and the first three.
        """
        if problems := self.problem_summary():
            raise UserError(f"{self.name} is not clean: {problems}; correct the annotation, or turn --data.strict off")


def join_datasets(parts: Sequence[CaptionDataset]) -> CaptionDataset:
    """Several data sets as one, whose splits are theirs one after another.

    Classes are those of the one data set that has any: of several, equal numbers would mean different classes, and none
    are kept. A split is withheld where no data set has captions of it.

    Raises:
        UserError: two of them list the same video.
    """
    home: dict[str, tuple[str, str]] = {}
    for part in parts:
        listed = [(video, split) for kind in (part.splits, part.missing) for split in kind for video in kind[split]]
        for video, split in [*listed, *((video, "no split") for video in part.captions)]:
            name, there = home.setdefault(video, (part.name, split))
            if name != part.name:
                raise UserError(
                    f"video {video!r} is in {name} ({there}) and in {part.name} ({split}): a store has one graph of "
                    "each name; rename the clips of one data set, in its annotation too, or learn from one alone"
                )
    names = dict.fromkeys(split for part in parts for split in part.splits)
    classes = [part.category for part in parts if part.category]
    return CaptionDataset(
        " + ".join(part.name for part in parts),
        {video: texts for part in parts for video, texts in part.captions.items()},
        {split: [video for part in parts for video in part.splits.get(split, ())] for split in names},
        {split: [video for part in parts for video in part.missing.get(split, ())] for split in names},
        category=classes[0] if len(classes) == 1 else {},
        unlabelled=[
            split for split in names if all(split in part.unlabelled for part in parts if split in part.splits)
        ],
        parts=tuple(parts),
    )
