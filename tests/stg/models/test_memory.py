"""What branches hand their decoders besides frames: regions, grid, clip vector (V1), class."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from decoders import Decoder, State, VideoMemory
from graphs import STGEncoder
from stg.data.batches import CaptionBatch
from stg.models.branches import SceneBranch, SceneViews
from stg.models.captioner import Branch, Captioner
from stg.models.memory import ClipVector, MemoryBuilder, pad_grid, pad_regions, subsample_steps
from tests.stg.conftest import made_batch, made_video, rich_videos

ALL = frozenset({"motion", "regions", "grid", "clip", "category"})


class Reader(Decoder):
    """Reads what it is told to, and captions nothing."""

    def __init__(self, reads: frozenset[str]) -> None:
        super().__init__(10, 8)
        self.wanted = reads

    @property
    def reads(self) -> frozenset[str]:
        return self.wanted

    def features(self, words: Tensor, memory: VideoMemory, video: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def init_state(self, memory: VideoMemory) -> State:
        raise NotImplementedError

    def advance(self, word: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError


def all_parts(regions: nn.Module) -> MemoryBuilder:
    return MemoryBuilder(regions=regions, grid=nn.Linear(7, 8), clip=ClipVector(5, 4, 8, 8), category=True)


def both_branches() -> Captioner:
    torch.manual_seed(0)
    return Captioner(
        scene=Branch(SceneViews(5, 4, 8), Reader(ALL), all_parts(nn.Linear(6, 8, bias=False))),
        objects=Branch(STGEncoder(6, 8, 2), Reader(ALL - {"motion"}), all_parts(nn.Identity())),
    ).double()


def double(batch: Data) -> Data:
    return batch.apply(lambda value: value.double() if value.is_floating_point() else value)


def test_regions_against_a_loop(rich_batch: CaptionBatch) -> None:
    batch = rich_batch.graphs
    regions, mask = pad_regions(batch.x, batch.frame, batch.batch, batch.num_frames)
    assert regions.shape == (3, 4, 4, 6)
    for video in range(3):
        for frame in range(4):
            rows = [
                batch.x[node]
                for node in range(len(batch.x))
                if batch.batch[node] == video and batch.frame[node] == frame
            ]
            assert mask[video, frame].tolist() == [True] * len(rows) + [False] * (4 - len(rows))
            for place, row in enumerate(rows):
                assert torch.equal(regions[video, frame, place], row)
    assert regions[~mask].eq(0).all()
    assert mask.sum() == len(batch.x)


def test_a_batch_without_any_object_has_one_masked_region() -> None:
    batch = made_batch([made_video(1, [0, 0, 0]), made_video(2, [0])])
    regions, mask = pad_regions(batch.x, batch.frame, batch.batch, batch.num_frames)
    assert regions.shape == (2, 3, 1, 6)
    assert not mask.any()


def test_gradients_of_regions_reach_their_nodes_and_nothing_else() -> None:
    batch = made_batch([made_video(1, [2, 1]), made_video(2, [0, 3, 1])])
    nodes = batch.x.clone().requires_grad_()
    regions, mask = pad_regions(nodes, batch.frame, batch.batch, batch.num_frames)
    weights = torch.randn_like(regions)
    (regions * weights).sum().backward()
    assert nodes.grad is not None
    torch.testing.assert_close(nodes.grad, weights[mask])


@pytest.mark.parametrize("counts", [[3, 0, 1], [0, 0], [2]])
def test_grid_against_a_loop(counts: list[int]) -> None:
    flat = torch.randn(sum(counts), 4, 5, generator=torch.Generator().manual_seed(0))
    ptr = torch.tensor([0, *counts]).cumsum(0)
    grid, mask = pad_grid(flat, ptr)
    assert grid.shape == (len(counts), max(*counts, 1), 4, 5)
    for video, count in enumerate(counts):
        assert torch.equal(grid[video, :count], flat[ptr[video] : ptr[video] + count])
        assert grid[video, count:].eq(0).all()
        assert mask[video].tolist() == [True] * count + [False] * (grid.shape[1] - count)


@pytest.mark.parametrize(("motion", "audio"), [(4, 8), (0, 8), (4, 0), (0, 0)])
def test_the_clip_vector_against_a_loop(motion: int, audio: int, rich_batch: CaptionBatch) -> None:
    torch.manual_seed(0)
    clip = ClipVector(5, motion, audio, 3).double()
    assert clip.project.in_features == 5 + motion + (audio + 1 if audio else 0)
    found = clip(double(rich_batch.graphs))
    for video, features in enumerate(rich_videos()):
        vector = features.scene.double().mean(0).tolist()
        if motion:
            vector += features.motion.double().mean(0).tolist()
        if audio:
            heard = [row for row, is_heard in zip(features.audio, features.audio_mask, strict=True) if is_heard]
            vector += torch.stack(heard).double().mean(0).tolist() if heard else [0.0] * 8
            vector.append(float(bool(heard)))
        expected = clip.project.weight @ torch.tensor(vector, dtype=torch.float64) + clip.project.bias
        torch.testing.assert_close(found[video], expected, rtol=0, atol=1e-12)


def test_what_is_not_heard_and_a_video_without_motion_rows_change_nothing() -> None:
    torch.manual_seed(0)
    clip = ClipVector(5, 4, 8, 3)
    videos = [made_video(1, [1, 1], heard=[True, False]), made_video(2, [1], heard=[False])]
    batch = made_batch(videos)
    batch.motion, batch.motion_ptr = batch.motion[:2], torch.tensor([0, 2, 2])
    expected = clip(batch)
    batch.audio = torch.where(batch.audio_mask[:, None], batch.audio, torch.nan)
    found = clip(batch)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in clip.parameters())


def test_a_clip_vector_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs scene, motion or sound features, and all three widths are 0"):
        ClipVector(0, 0, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x", "built with object features and the batch has none: extract with a --detector"),
        ("grid", "built with grid features and the batch has none: extract with --motion i3d --grid"),
        ("audio", "built with sound features and the batch has none: extract with --sound vggish"),
        ("motion", "built with motion features and the batch has none: extract with --motion i3d"),
        ("scene", "built with scene features and the batch has none: extract with a --backbone"),
    ],
)
def test_what_a_batch_lacks_is_told(name: str, message: str, rich_batch: CaptionBatch) -> None:
    del rich_batch.graphs[name]
    with pytest.raises(ValueError, match=message):
        all_parts(nn.Linear(6, 8))(rich_batch.graphs)


def test_both_branches_hand_over_all_that_is_read(rich_batch: CaptionBatch) -> None:
    model = both_branches()
    batch = double(rich_batch.graphs)
    encoded = model.encode(batch)
    scene, objects = encoded.scene, encoded.objects
    assert scene is not None
    assert objects is not None
    assert isinstance(model.scene, SceneViews)
    for video, features in enumerate(rich_videos()):
        for frame in range(features.num_frames):
            torch.testing.assert_close(
                scene.frames[video, frame], model.scene.frames.weight @ features.scene[frame].double()
            )
            assert scene.motion is not None
            motion = features.motion[features.motion_row[frame]].double()
            torch.testing.assert_close(scene.motion[video, frame], model.scene.motion.weight @ motion)
    assert model.scene_parts is not None
    assert scene.regions is not None
    assert scene.region_mask is not None
    assert objects.motion is None
    raw = model.scene_parts.regions
    assert isinstance(raw, nn.Linear)
    torch.testing.assert_close(scene.regions[scene.region_mask], batch.x @ raw.weight.T)
    for memory in (scene, objects):
        assert memory.category is not None
        assert memory.category.tolist() == [2, -1, 0]
        assert memory.grid is not None
        assert memory.grid.shape == (3, 3, 3, 8)
        assert memory.clip is not None
        assert memory.clip.shape == (3, 8)


def test_graph_regions_average_to_the_frames_of_their_branch(rich_batch: CaptionBatch) -> None:
    objects = both_branches().encode(double(rich_batch.graphs)).objects
    assert objects is not None
    assert objects.regions is not None
    assert objects.region_mask is not None
    mean = objects.regions.sum(2) / objects.region_mask.sum(2).clamp(min=1)[..., None]
    torch.testing.assert_close(mean, objects.frames)
    assert torch.equal(objects.region_mask.any(2), objects.frame_mask)


def test_a_batch_equals_its_members(rich_batch: CaptionBatch) -> None:
    model = both_branches()
    together = model.encode(double(rich_batch.graphs))
    for row, video in enumerate(rich_videos()):
        alone = model.encode(double(made_batch([video], [rich_batch.graphs.category[row].item()])))
        for few, many in ((alone.scene, together.scene), (alone.objects, together.objects)):
            assert few is not None
            assert many is not None
            for name, mask in (("frames", "frame_mask"), ("regions", "region_mask"), ("grid", "grid_mask")):
                real = getattr(few, mask)[0]
                among = getattr(many, mask)[row]
                assert real.sum() == among.sum()
                torch.testing.assert_close(getattr(few, name)[0][real], getattr(many, name)[row][among])
            assert few.clip is not None
            assert many.clip is not None
            torch.testing.assert_close(few.clip[0], many.clip[row])


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([6, 2, 0, 9], 3, [[1, 3, 5], [0, 1], [], [1, 4, 7]]),
        ([1, 5], 1, [[0], [2]]),
        ([4, 3], 64, [[0, 1, 2, 3], [0, 1, 2]]),
        ([5], 4, [[0, 1, 3, 4]]),
    ],
)
def test_steps_of_long_videos_are_spread_over_all_of_them(
    counts: list[int], most: int, expected: list[list[int]]
) -> None:
    ptr = torch.tensor([0, *counts]).cumsum(0)
    rows, begin = subsample_steps(ptr, most)
    found = [(rows[begin[n] : begin[n + 1]] - ptr[n]).tolist() for n in range(len(counts))]
    assert found == expected
    assert len(rows) == begin[-1]


def test_a_grid_has_no_more_steps_than_it_may(rich_batch: CaptionBatch) -> None:
    batch = rich_batch.graphs
    parts = MemoryBuilder(grid=nn.Identity(), max_steps=2)(batch)
    assert parts["grid_mask"].tolist() == [[True, True], [True, True], [True, False]]
    assert torch.equal(parts["grid"][0], batch.grid[[0, 2]])
    assert torch.equal(parts["grid"][1], batch.grid[3:5])
    assert MemoryBuilder(grid=nn.Identity())(batch)["grid"].shape[1] == 3


def test_a_category_that_no_batch_knows_is_left_out(rich_batch: CaptionBatch) -> None:
    del rich_batch.graphs["category"]
    encoded = both_branches().encode(double(rich_batch.graphs))
    assert encoded.scene is not None
    assert encoded.scene.category is None


def test_a_decoder_that_reads_more_than_its_branch_hands_over_is_refused() -> None:
    def build(scene: nn.Module, reads: frozenset[str], parts: MemoryBuilder | None = None) -> None:
        Captioner(scene=Branch(scene, Reader(reads), parts))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="reads motion, and the branch provides frames: pass SceneViews as its enc"):
        build(SceneBranch(5, 4, 8), frozenset({"motion"}))
    parts = MemoryBuilder(category=True)
    with pytest.raises(ValueError, match="reads clip, grid, and the branch provides category, frames: pass its mem"):
        build(SceneBranch(5, 4, 8), frozenset({"clip", "grid", "category"}), parts)
    with pytest.raises(ValueError, match=r"the decoder of the object branch reads motion, .* pass its memory with it"):
        Captioner(objects=Branch(STGEncoder(6, 8), Reader(frozenset({"motion"}))))


def test_joined_branches_need_a_decoder_that_reads_no_other_steps(rich_batch: CaptionBatch) -> None:
    def join(reads: frozenset[str], parts: MemoryBuilder) -> Captioner:
        return Captioner(
            scene=Branch(SceneBranch(5, 4, 8), Reader(reads), parts), objects=Branch(STGEncoder(6, 8)), fusion="concat"
        )

    with pytest.raises(ValueError, match=r"fusion='concat' joins the frames .* its decoder reads grid, regions too"):
        join(frozenset({"regions", "grid"}), all_parts(nn.Linear(6, 8)))
    parts = MemoryBuilder(clip=ClipVector(5, 4, 8, 8), category=True)
    memory = join(frozenset({"clip", "category"}), parts).memory(rich_batch.graphs)
    assert memory.frames.shape == (3, 8, 8)
    assert memory.clip is not None
    assert memory.category is not None
