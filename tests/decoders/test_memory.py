"""VideoMemory validates itself; a video without real frames keeps one zero step."""

from dataclasses import fields, replace

import pytest
import torch

from decoders.memory import VideoMemory, keep_one_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(3, 16)}, r"frames must be \[B F C\] with no empty axis, got \[3, 16\]"),
        ({"frames": torch.zeros(3, 0, 16)}, r"no empty axis, got \[3, 0, 16\]"),
        ({"frame_mask": torch.ones(3, 4, dtype=torch.bool)}, r"frame_mask must have shape \[3, 5\].*got \[3, 4\]"),
        ({"frame_mask": torch.ones(3, 5)}, r"frame_mask must be boolean \(True = real\), got torch.float32"),
        ({"region_mask": None}, "regions and region_mask come together"),
        ({"regions": torch.zeros(3, 4, 2, 16)}, r"regions must have shape \[3, 5, '\?', '\?'\].*got \[3, 4, 2, 16\]"),
        ({"region_mask": torch.ones(3, 5, 3, dtype=torch.bool)}, r"region_mask must have shape \[3, 5, 2\]"),
        (
            {"clip": torch.zeros(2, 16)},
            r"clip must have shape \[3, '\?'\] to fit the rest of the memory, got \[2, 16\]",
        ),
        ({"motion": torch.zeros(3, 6, 16)}, r"motion must have shape \[3, 5, '\?'\].*got \[3, 6, 16\]"),
        ({"grid_mask": None}, "grid and grid_mask come together: give both or neither"),
        ({"grid": None}, "grid and grid_mask come together: give both or neither"),
        ({"grid": torch.zeros(3, 3, 16)}, r"grid must have shape \[3, '\?', '\?', '\?'\].*got \[3, 3, 16\]"),
        ({"grid": torch.zeros(2, 3, 4, 16)}, r"grid must have shape \[3, '\?', '\?', '\?'\].*got \[2, 3, 4, 16\]"),
        ({"grid_mask": torch.ones(3, 4, dtype=torch.bool)}, r"grid_mask must have shape \[3, 3\].*got \[3, 4\]"),
        ({"grid_mask": torch.ones(3, 3)}, r"grid_mask must be boolean \(True = real\), got torch.float32"),
        ({"category": torch.zeros(3, 1, dtype=torch.int64)}, r"category must have shape \[3\].*got \[3, 1\]"),
        ({"words": torch.zeros(4, 7)}, r"words must have shape \[3, '\?'\].*got \[4, 7\]"),
        ({"category": torch.zeros(4, dtype=torch.int64)}, r"category must have shape \[3\].*got \[4\]"),
        ({"times": torch.zeros(3, 4, dtype=torch.int64)}, r"times must have shape \[3, 5\].*got \[3, 4\]"),
        ({"shows": torch.zeros(3, dtype=torch.int64)}, r"shows must have shape \[3, 5\].*got \[3\]"),
        ({"object_mask": None}, "objects and object_mask come together: give both or neither"),
        ({"objects": torch.zeros(2, 4, 16)}, r"objects must have shape \[3, '\?', '\?'\].*got \[2, 4, 16\]"),
        ({"object_mask": torch.ones(3, 5, dtype=torch.bool)}, r"object_mask must have shape \[3, 4\].*got \[3, 5\]"),
        (
            {"objects": torch.zeros(3, 0, 16), "object_mask": torch.zeros(3, 0, dtype=torch.bool)},
            r"objects must be \[B O C\] with no empty axis, got \[3, 0, 16\]",
        ),
        ({"object_times": torch.zeros(3, 5, dtype=torch.int64)}, r"object_times must have shape \[3, 4\].*\[3, 5\]"),
        ({"shares": torch.zeros(3, 4, 2)}, r"shares must have shape \[3, 5, '\?'\].*got \[3, 4, 2\]"),
        ({"object_shares": torch.zeros(3, 5, 2)}, r"object_shares must have shape \[3, 4, '\?'\].*got \[3, 5, 2\]"),
        ({"object_shows": torch.zeros(3, dtype=torch.int64)}, r"object_shows must have shape \[3, 4\].*got \[3\]"),
    ],
)
def test_wrong_fields_are_named(make_memory, without_annotations, change, message):
    with pytest.raises(ValueError, match=message):
        replace(make_memory(), **change)


def test_select_takes_every_field(make_memory):
    steps = torch.arange(15).view(3, 5)
    objects = torch.arange(12).view(3, 4)
    memory = replace(make_memory(), times=steps, shows=-steps, object_times=objects, object_shows=-objects)
    memory = replace(memory, words=torch.randn(3, 7))
    memory = replace(memory, shares=torch.randn(3, 5, 7), object_shares=torch.randn(3, 4, 7))
    chosen = memory.select(torch.tensor([2, 0, 2, 1]))
    assert chosen.num_videos == 4
    for name in (field.name for field in fields(VideoMemory)):
        assert torch.equal(getattr(chosen, name)[0], getattr(memory, name)[2])
        assert torch.equal(getattr(chosen, name)[1], getattr(memory, name)[0])


def test_to_another_type_keeps_masks_and_absent_fields(make_memory):
    memory = replace(make_memory(), clip=None).to(torch.float32)
    for value in (memory.frames, memory.motion, memory.regions, memory.grid):
        assert value.dtype == torch.float32
    for mask in (memory.frame_mask, memory.region_mask, memory.grid_mask):
        assert mask.dtype == torch.bool
    assert memory.category.dtype == torch.int64
    assert memory.clip is None
    assert memory.to("cpu").frames.dtype == torch.float32


def test_grid_steps_need_not_be_the_frames(make_memory):
    memory = make_memory(frames=5)
    assert memory.grid.shape[1] == 3
    alone = VideoMemory(memory.frames, memory.frame_mask, grid=memory.grid, grid_mask=memory.grid_mask)
    assert alone.select(torch.tensor([1])).grid.shape == (1, 3, 4, 16)
    assert alone.regions is None
    assert alone.category is None


def test_keep_one_key_opens_one_zero_step_in_empty_rows_only():
    values = torch.tensor([[[1.0], [2.0]], [[torch.nan], [torch.inf]], [[torch.nan], [5.0]]])
    mask = torch.tensor([[True, True], [False, False], [False, True]])
    kept, opened = keep_one_key(values, mask)
    assert kept.tolist() == [[[1.0], [2.0]], [[0.0], [0.0]], [[0.0], [5.0]]]
    assert opened.tolist() == [[True, True], [True, False], [False, True]]
    assert values[1].isnan().any(), "the input is left alone"
    assert not mask[1].any(), "the input is left alone"


def test_memory_has_a_truth_value(make_memory):
    assert bool(VideoMemory(torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.bool)))


def test_a_part_is_taken_where_it_is_there_and_fits(make_memory):
    memory = replace(make_memory(), motion=None)
    assert memory.take("clip", 16) is memory.clip
    with pytest.raises(ValueError, match=r"^the decoder reads memory.motion, but the memory has none: give it motion$"):
        memory.take("motion", 16)
    with pytest.raises(ValueError, match=r"^fusion='add' reads memory.motion, but"):
        memory.take("motion", 16, "fusion='add'")
    with pytest.raises(
        ValueError, match=r"^memory.clip has 16 channels, the decoder 8: project it before, or build the"
    ):
        memory.take("clip", 8)
