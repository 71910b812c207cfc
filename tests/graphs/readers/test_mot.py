"""MOTChallenge files: frames from 0, rows in any order, and the words for what cannot be."""

from pathlib import Path
from typing import Any

import pytest

import graphs
from graphs.readers.mot import read_mot

TRUTH = """3,2,10,20,30,40,1,1,0.5
1,2,8,20,30,40,1,1,1

1,5,0,0,64,48,0,-1,1
"""
INFO = "[Sequence]\nname=MOT-02\nimDir=img1\nframeRate=30\nseqLength=4\nimWidth=64\nimHeight=48\nimExt=.jpg\n"


def sequence(folder: Path, rows: str = TRUTH, info: str = INFO) -> Path:
    path = folder / "MOT-02" / "gt" / "gt.txt"
    path.parent.mkdir(parents=True)
    path.write_text(rows)
    (path.parent.parent / "seqinfo.ini").write_text(info)
    return path


def test_a_sequence_of_the_challenge(tmp_path: Path) -> None:
    ((video, found),) = read_mot(sequence(tmp_path), num_classes=2)
    assert (video, found.num_frames, found.size, found.fps) == ("MOT-02", 4, (48, 64), 30)
    assert found.boxes.tolist() == [[8, 20, 38, 60], [0, 0, 64, 48], [10, 20, 40, 60]]
    assert found.frame.tolist() == [0, 0, 2]
    assert found.track is not None
    assert found.track.tolist() == [2, 5, 2]
    assert found.label is not None
    assert found.label.tolist() == [1, 0, 1]
    assert found.scores is not None
    assert found.scores.tolist() == [1, 0, 1]
    assert found.objects[1].tolist() == [0.5, 0.5, 1, 1, 0, 1, 0]


def test_detections_without_what_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    path.write_text("2,-1,1,2,3,4,0.5,-1,-1,-1\n2,-1,1,2,3,4,0.25,-1,-1,-1\n")
    ((video, found),) = read_mot(path, size=(48, 64))
    assert (video, found.num_frames, found.frame.tolist(), found.label) == ("det", 2, [1, 1], None)
    assert found.track is not None
    assert found.track.tolist() == [-1, -1]
    ((video, found),) = read_mot(path, size=(48, 64), num_frames=9, video="mine")
    assert (video, found.num_frames, found.video) == ("mine", 9, "mine")
    path.write_text("\n")
    ((_, found),) = read_mot(path, size=(48, 64), num_frames=3)
    assert (found.num_frames, found.num_objects) == (3, 0)
    assert found.scores is not None


def test_a_store_takes_it_in_one_line(tmp_path: Path) -> None:
    path = sequence(tmp_path)
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:
        store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_mot(path))
        assert store.get("MOT-02").track.tolist() == [2, 5, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,2,3", r" must have 7, 9 or 10 columns \(frame, id, left, .*\), got 3"),
        ("1 2 3 4 5 6 7", " line 1: must be numbers with commas between .*, as many in each line, got '1 2 3 4 5 6 7'"),
        ("1,2,3,4,5,6,1\n\n1,2,3,4,5,6,a", " line 3: must be numbers with commas between .*, got '1,2,3,4,5,6,a'"),
        ("1,2,3,4,5,6,1\n1,2,3,4,5,6,1,1,1", " line 2: must be numbers with commas .*, got '1,2,3,4,5,6,1,1,1'"),
        ("1,2,3,4,5,6,1\n\n2,2,3,nan,5,6,1", " line 3: all numbers must be finite, got 2, 2, 3, nan, 5, 6, 1"),
        ("0,2,3,4,5,6,1", " line 1: frame must be a whole number, 1 or more, got 0"),
        ("1.5,2,3,4,5,6,1", " line 1: frame must be a whole number, 1 or more, got 1.5"),
        ("1e300,2,3,4,5,6,1", r" line 1: frame must be a whole number, 1 or more, got 1e\+300"),
        ("5,2,3,4,5,6,1", " line 1: frame is beyond the video of 4 frames, got 5"),
        ("1,-2,3,4,5,6,1", " line 1: id must be a whole number, 0 or more, or -1 where not known, got -2"),
        ("1,2,3,4,5,-6,1", " line 1: width and height must be 0 or more, got 5, -6"),
        ("1,2,3,4,5,6,1,0.5,1", " line 1: class must be a whole number, -1 where not known, got 0.5"),
        ("1,-1,3,4,5,6,1\n3,2,3,4,5,6,1\n1,-1,3,4,5,6,1\n3,2,9,4,5,6,1", " line 4: the same id .*, got 3, 2"),
        ("1,2,1e300,4,5,6,1", ": boxes must be finite, got .*; video 'MOT-02' frame 0 box 0"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(rows: str, message: str, tmp_path: Path) -> None:
    path = sequence(tmp_path, rows)
    with pytest.raises(ValueError, match=message) as caught:
        read_mot(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("", "seqinfo.ini must have a section .*: 'Sequence'"),
        ("name=1", "seqinfo.ini must have a section .*no section headers"),
        ("[Sequence]\nseqLength=four\n", "seqinfo.ini must have a section .*'four'"),
        (INFO.replace("seqLength=4", "seqLength=2000000"), r"gt.txt: a video has at most 1048576 frames, got 2000000"),
        ("[Sequence]\nname=a\n", r"gt.txt has no seqinfo.ini that says the size .*: give size=\(height, width\)"),
    ],
)
def test_what_is_wrong_around_the_rows(info: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_mot(sequence(tmp_path, info=info))
    assert "\n" not in str(caught.value)


def test_a_file_without_rows_says_no_length(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(
        ValueError, match=r"a.txt has no rows, so that the length of the video is not known: give num_fr"
    ):
        read_mot(tmp_path / "a.txt", size=(3, 4))


def test_what_is_given_wins_over_the_sequence(tmp_path: Path) -> None:
    options: dict[str, Any] = {"size": (96, 128), "num_frames": 3, "video": "other"}
    ((video, found),) = read_mot(sequence(tmp_path), **options)
    assert (video, found.size, found.num_frames) == ("other", (96, 128), 3)
