"""Did the caption name the event? Scores of the built-in world that look at the verb alone."""

from collections.abc import Mapping

from stg.datasets.world.dataset import World
from stg.datasets.world.events import EVENTS
from stg.datasets.world.phrases import VERBS

_PHRASES = sorted(
    ((f" {phrase} ", verb) for verb, phrases in VERBS.items() for phrase in phrases), key=lambda pair: -len(pair[0])
)

GROUPS: Mapping[str, frozenset[str]] = {
    "event": frozenset(EVENTS),
    "two_objects": frozenset(name for name, kind in EVENTS.items() if kind.objects == 2),
    "one_object": frozenset(name for name, kind in EVENTS.items() if kind.objects == 1),
    **{
        needs: frozenset(name for name, kind in EVENTS.items() if kind.needs == needs)
        for needs in ("space", "time", "both")
    },
}
"""Name of a score -> the events it is over: all, those of two objects and of one, and by what distinguishes them."""


def verb_of(caption: str) -> str | None:
    """The event that a caption names by any of its phrases, the longest first; None where it names none."""
    _, verb, _ = parted(caption)
    return verb


def parted(caption: str) -> tuple[str, str | None, str]:
    """What stands before the phrase that names the event, the event, and what stands behind; all before, where none."""
    text = f" {caption} "
    phrase, verb = next((found for found in _PHRASES if found[0] in text), ("", None))
    before, _, behind = text.partition(phrase) if phrase else (text, "", "")
    return before, verb, behind


def event_scores(world: World, captions: Mapping[str, str]) -> dict[str, float]:
    """Share of the videos whose caption names the event that happens, over each of :data:`GROUPS`.

    A group without any video has no score.

    Args:
        world: the world of the videos.
        captions: video id -> caption.
    """
    truth = {video: world.event(video).verb for video in captions}
    return scores_of({video: verb_of(caption) == truth[video] for video, caption in captions.items()}, truth)


def scores_of(right: Mapping[str, bool], truth: Mapping[str, str]) -> dict[str, float]:
    """Share of videos that are right, over each of :data:`GROUPS`; ``truth`` is the event of each video."""
    members = {name: [video for video in right if truth[video] in group] for name, group in GROUPS.items()}
    return {name: sum(right[v] for v in videos) / len(videos) for name, videos in members.items() if videos}
