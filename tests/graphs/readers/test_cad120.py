"""CAD-120: tracks become objects frame by frame, with what is known of the clip."""

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

import graphs
from graphs.readers.cad120 import CAD120_ACTIONS, CAD120_CLASSES, read_cad120

CLIP: dict[str, Any] = {
    "subject": "Subject1", "activity": "having_meal", "video": "0101", "first": 30, "last": 32, "action": "place",
    "size": [640, 480],
    "tracks": [
        {"id": "cup_1", "class": "cup", "boxes": [[10, 20, 30, 40], None, [11, 20, 30, 40]]},
        {"id": "hand_1", "class": "hand", "boxes": [None, None, [0, 0, 640, 480]]},
    ],
    "relations": [{"ids": ["hand_1", "cup_1"], "relations": ["apart", "apart", "holding"]}],
}  # fmt: skip


def write(path: Path, *clips: Any) -> Path:
    path.write_text(json.dumps(list(clips)))
    return path


def changed(part: str, row: int, **changes: Any) -> dict[str, Any]:
    made = deepcopy(CLIP)
    made[part][row] |= changes
    return made


def test_a_clip(tmp_path: Path) -> None:
    (found,) = read_cad120(write(tmp_path / "clips.json", CLIP))
    features, labels = found.features, found.labels
    assert (found.video, features.num_frames, features.size) == ("0101_30_32", 3, (480, 640))
    assert features.boxes.tolist() == [[10, 20, 40, 60], [11, 20, 41, 60], [0, 0, 640, 480]]
    assert features.frame.tolist() == [0, 2, 2]
    assert features.track is not None
    assert features.track.tolist() == [0, 0, 1]
    assert features.label is not None
    assert [CAD120_CLASSES[label - 1] for label in features.label.tolist()] == ["cup", "cup", "hand"]
    assert features.frame_number is not None
    assert features.frame_number.tolist() == [30, 31, 32]
    torch.testing.assert_close(features.objects[2], torch.tensor([0.5, 0.5, 1, 1, 1, 0, 1, *[0] * 12]))
    assert (CAD120_ACTIONS[labels.y], labels.action, labels.subject) == ("place", "place", "Subject1")
    assert (labels.activity, labels.objects) == ("having_meal", ("cup_1", "hand_1"))
    assert labels.relations == {("hand_1", "cup_1"): ["apart", "apart", "holding"]}


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([CLIP, CLIP], r"\[1\]: the clip '0101_30_32' is given twice"),
        ([CLIP | {"label": 1}], r"\[0\]: the key \"label\" is not known: the keys are subject, activity"),
        ([CLIP | {"last": 20}], r"\[0\], 'last': must be 30 or more, the first frame, got 20"),
        ([CLIP | {"action": "run"}], r"\[0\], 'action': must be one of null, pick, .*, got 'run'"),
        ([CLIP | {"last": 33}], r"\[0\], 'tracks'\[0\], 'boxes': must be one box or null a frame, of 4 frames, got 3"),
        ([CLIP | {"size": [640]}], r"\[0\], 'size': must be \[width, height\] in pixels, got \[640\]"),
        ([CLIP | {"size": [0, 480]}], r"\[0\], 'size'\[0\]: must be a whole number, 1 or more, got 0"),
        ([CLIP | {"size": [640.5, 480]}], r"\[0\], 'size'\[0\]: must be a whole number, 1 or more, got 640.5"),
        ([changed("tracks", 1, id="cup_1")], "'tracks': an id is given to two tracks"),
        ([changed("tracks", 1, **{"class": "dog"})], r"'tracks'\[1\], 'class': must be one of hand, .*, got 'dog'"),
        ([changed("tracks", 0, boxes=[None, [0, 0, -4, 5], None])], r"'boxes'\[1\]: must be .* got \[0.0, 0.0, -4"),
        ([changed("relations", 0, ids=["cup_1"])], r"\[0\], 'ids': must be the ids of two objects.*\['cup_1'\]"),
        ([CLIP | {"relations": CLIP["relations"] * 2}], r"'relations'\[1\], 'ids': must be .*, given once in a clip"),
        ([changed("relations", 0, relations=["apart"])], r"'relations': must be one word a frame, of 3 frames, got 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit(clips: list[Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clips.json", *clips)
    with pytest.raises(ValueError, match=message) as caught:
        read_cad120(path)
    assert str(caught.value).startswith(str(path))


def test_its_graph_has_the_action_and_a_store_keeps_it(tmp_path: Path) -> None:
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:
        clips = read_cad120(write(tmp_path / "clips.json", CLIP, CLIP | {"video": "0102", "action": "null"}))
        store.put_many((clip.video, clip.graph()) for clip in clips)
        batch = store.batch(["0101_30_32", "0102_30_32"])
    assert batch.y.tolist() == [2, 0]
    assert batch.track.tolist() == [0, 0, 1] * 2


@pytest.mark.shared_data
def test_all_of_cad120(shared_data: Path, tmp_path: Path) -> None:
    clips = read_cad120(shared_data / "cad120" / "clips.json.gz")
    assert len(clips) == 427
    assert Counter(clip.labels.subject for clip in clips) == {"Subject1": 152, "Subject3": 135, "Subject4": 140}
    assert Counter(clip.labels.action for clip in clips).most_common(2) == [("null", 127), ("pick", 86)]
    assert sum(clip.features.num_objects for clip in clips) == 153_445 - 7_181
    first = clips[0].features
    assert first.track is not None
    assert (clips[0].video, first.num_frames, first.boxes[0].tolist()) == ("1204144120_30_80", 51, [405, 294, 441, 313])
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:
        store.put_many((clip.video, graphs.flat_graph(clip.features)) for clip in clips[:3])
        assert torch.equal(store.get(clips[0].video).track, first.track)
