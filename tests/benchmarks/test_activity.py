"""The benchmark of activities, on made clips: what its classifier reads, what its controls destroy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.activity import CONTROLS, KINDS, Task, Trainings, compare, shuffle_edges, table, train
from benchmarks.activity_graphs import CLASSES, FRAMES, Clips, edge_attributes, made_clips, make_clips, statistics


@pytest.fixture(scope="module")
def clips() -> Clips:
    return make_clips(made_clips(), views=3)


def test_a_batch_holds_the_edges_of_its_graphs(clips: Clips) -> None:
    chosen = torch.tensor([20, 3, 3])
    batch = clips.batch(chosen)
    assert batch.num_frames.tolist() == [FRAMES] * 3
    assert torch.equal(torch.bincount(batch.batch), clips.counts[chosen])
    # A hand and a cup in each frame; each gathers from the other one, and from itself in all other frames.
    counts = {"spatial": 3 * FRAMES * 2, "temporal": 3 * 2 * FRAMES * (FRAMES - 1)}
    for kind, count in counts.items():
        index, attributes = batch[f"{kind}_index"], batch[f"{kind}_attr"]
        assert index.size(1) == count
        assert bool((index[1].diff() >= 0).all())
        same = edge_attributes(kind, index, batch.boxes, batch.frame, batch.batch, batch["size"])
        torch.testing.assert_close(attributes, same)
        source, target = index
        assert torch.equal(batch.batch[source], batch.batch[target])
        assert bool((batch.track[source] == batch.track[target]).all()) == (kind == "temporal")


def test_views_are_the_clip_by_other_cameras(clips: Clips) -> None:
    first, second = clips.batch(torch.tensor([4])), clips.batch(torch.tensor([18 + 4]))
    assert torch.equal(first.label, second.label)
    centre = (first.boxes[:, 0] + first.boxes[:, 2]) / 2
    mirrored = 640 - (second.boxes[:, 0] + second.boxes[:, 2]) / 2
    # The hand does not move to the side: mirrored back, it stays within the shift and scale of the view.
    assert float((centre - mirrored).abs().max()) < 0.1 * 640 + 0.1 * 320 + 1
    assert not torch.equal(centre, mirrored)
    width = second.boxes[:, 2] - second.boxes[:, 0]
    torch.testing.assert_close(width, width[:1].expand_as(width), rtol=0, atol=1e-3)
    assert 0.9 * 30 <= float(width[0]) <= 1.1 * 30


def test_the_classifier_learns_direction_from_temporal_edges() -> None:
    made = made_clips()
    Trainings.begin(made, 1)
    task = Task("temporal", ("person0", "person1"), "person2", epochs=25, seed=0)
    assert Trainings.one(task).all()
    # Learned from clips with permuted actions, it is right as often as not.
    right = [train(make_clips(made), task._replace(name="shuffled features", seed=seed)).mean() for seed in range(2)]
    assert np.mean(right) < 0.75


def test_shuffled_edges_are_as_many_and_stay_in_their_clip(clips: Clips) -> None:
    chosen = torch.tensor([0, 1])
    before, after = clips.batch(chosen), clips.batch(chosen)
    shuffle_edges(after, ("temporal",))
    (source, target), (old, same) = after.temporal_index, before.temporal_index
    assert torch.equal(target, same)
    assert torch.equal(source.sort().values, old.sort().values)
    assert torch.equal(after.batch[source], after.batch[target])
    assert not torch.equal(source, old)
    assert torch.equal(after.spatial_index, before.spatial_index)


def test_everything_is_compared_on_all_people() -> None:
    results = compare(made_clips(), epochs=(1,), seeds=(0, 1), trees=5, views=1, workers=1)
    assert results["clips"] == {"person0": 6, "person1": 6, "person2": 6}
    assert results["epochs"]["both"] == {"person0": 1, "person1": 1, "person2": 1}
    names = [*KINDS, *CONTROLS, "forest: classes", "forest: + distances", "forest: + motion", "forest: + ends"]
    assert list(results["accuracy"]) == [*names, "forest: all"]
    motion = results["accuracy"]["forest: + motion"]
    assert motion["people"] == {"person0": 1.0, "person1": 1.0, "person2": 1.0}
    assert (motion["mean"], motion["deviation"], motion["seeds"]) == (1.0, 0.0, [1.0, 1.0])
    assert "| forest: + motion | 1.000 ± 0.000 | 1.000 / 1.000 / 1.000 |" in table(results)
    json.dumps(results)


def test_statistics_of_a_clip() -> None:
    found = statistics(made_clips()[0])
    count, motion = found["classes"], found["motion"].reshape(CLASSES, 4)
    assert count.nonzero()[0].tolist() == [1, 9]
    # 150 pixels down, of a picture 480 high; the cup stops after half of the way.
    np.testing.assert_allclose(motion[1], [0, 150 / 480, 150 / 480, 150 / 480], atol=1e-6)
    np.testing.assert_allclose(motion[9], motion[1] * 6 / 11, atol=1e-6)
    rows, columns = np.triu_indices(CLASSES)
    pair = int(np.flatnonzero((rows == 1) & (columns == 9))[0])
    np.testing.assert_allclose(found["ends"].reshape(2, -1)[:, pair], [0, 150 / 480 * 5 / 11], atol=1e-6)
    assert found["distances"][pair] < found["ends"].reshape(2, -1)[1, pair]


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["activity", "--clips", str(tmp_path / "none.json")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "activity reads the clips of CAD-120," in said
    assert "none.json is no file: give it by --clips FILE" in said


def test_without_clips_the_other_benchmarks_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[str] = []
    monkeypatch.setattr(command, "main_first", lambda names, _: run.extend(names) or ["failed"])
    assert command.main(["--clips", str(tmp_path / "none.json")]) == 1
    assert run == [name for name in command.BENCHMARKS if name != "activity"]
    assert "activity is left out" in capsys.readouterr().out
