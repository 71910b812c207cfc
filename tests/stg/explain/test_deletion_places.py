"""Hiding the places that Grad-CAM shows costs more than hiding any others, where Grad-CAM tells the truth."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from decoders import TransformerDecoder
from stg.explain.deletion import DeletionTest, mean_scene
from stg.explain.explanation import Deletion
from stg.explain.likelihood import word_log_probs
from stg.models.branches import SceneBranch
from stg.models.captioner import Branch, Captioner
from stg.vision.backbones import SceneMap, mean_map
from tests.stg.explain.test_gradcam import KINDS, WORDS, build, video_of

FRAMES, SIDE, TOLD, FIRST_WORD = 4, 3, 6, 3


def toy(videos: int, seed: int) -> tuple[Tensor, Tensor]:
    """Maps of videos ``[B T C h w]`` and the word of each, which one place of one frame tells."""
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(TOLD, (videos,), generator=random)
    maps = 0.1 * torch.randn(videos, FRAMES, TOLD, SIDE, SIDE, generator=random)
    row, column = torch.randint(SIDE, (2, videos), generator=random)
    maps[torch.arange(videos), torch.randint(FRAMES, (videos,), generator=random), words, row, column] += 9
    return maps, words + FIRST_WORD


def batch_of(scene: Tensor) -> Data:
    """Flat batch of scene features ``[B T S]`` alone."""
    return Data(scene=scene.flatten(0, 1), num_frames=torch.full((len(scene),), scene.shape[1]))


@pytest.fixture(scope="module")
def trained() -> Captioner:
    torch.manual_seed(1)
    decoder = TransformerDecoder(FIRST_WORD + TOLD, 16, 1, 1, heads=2, hidden=32, dropout=0.0)
    captioner = Captioner(scene=Branch(SceneBranch(TOLD, None, 16), decoder))
    optimiser = torch.optim.Adam(captioner.parameters(), lr=1e-2)
    for step in range(60):
        maps, words = toy(48, seed=step)
        logits = decoder(torch.full((48, 1), decoder.bos), captioner.memory(batch_of(maps.mean((3, 4)))))
        loss = torch.nn.functional.cross_entropy(logits[:, 0], words)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return captioner.eval()


class Moved(SceneMap):
    """A map whose Grad-CAM is put one place aside."""

    def gradcam(self, gradient: np.ndarray) -> np.ndarray:
        return np.roll(super().gradcam(gradient), 1, axis=-1)


def run(captioner: Captioner, *, moved: bool = False, count: int | None = 1) -> Deletion:
    """The test over fresh videos."""
    maps, words = toy(24, seed=1000)
    test = DeletionTest(count=count)
    for one, word in zip(maps, words.tolist(), strict=True):
        seen = mean_map(one.numpy())
        seen = Moved(seen.maps, seen.weights) if moved else seen
        test.add_gradcam(captioner, batch_of(one.mean((2, 3))[None]), [word], seen)
    (found,) = test.results()
    assert (found.title, found.hides, found.words) == ("gradcam", "places", 24)
    return found


def test_the_place_that_tells_the_word_is_missed_most(trained):
    found = run(trained)
    assert found.count == 1
    assert found.attended > 2.5
    assert len(set(found.random)) == 3
    assert all(found.attended > 10 * each for each in found.random)
    # A fifth of the places at random hits the one by chance, the more so the more are hidden.
    found = run(trained, count=None)
    assert found.count == FRAMES * SIDE * SIDE // 5
    assert found.ratio > 2


def test_places_beside_it_are_not(trained):
    found = run(trained, moved=True)
    assert abs(found.attended) < 0.1 * run(trained).attended


class Ranked(SceneMap):
    """A map whose places have made-up weights without ties, 0 for the first ``blind`` words."""

    blind = 0

    def gradcam(self, gradient: np.ndarray) -> np.ndarray:
        cam = np.random.default_rng(5).random((len(WORDS), len(self.maps), *self.maps.shape[2:]))
        cam[: self.blind] = 0
        return cam[: len(gradient)]


class Blind(Ranked):
    blind = 2


def slowly(captioner: Captioner, batch: Data, seen: SceneMap, count: int) -> float:
    """The mean fall with the most attended places hidden: a changed map for each word, averaged and captioned anew."""
    fill, falls = mean_scene(captioner, seen.maps.shape[1]), []
    for place, cam in enumerate(seen.gradcam(np.zeros(len(WORDS)))):
        changed = seen.maps.transpose(1, 0, 2, 3).reshape(len(fill), -1).copy()
        changed[:, cam.ravel().argsort()[::-1][:count]] = fill[:, None]
        hole = batch.clone()
        hole.scene = torch.from_numpy(changed.reshape(len(fill), len(seen.maps), -1).mean(2).T.copy())
        before, after = (word_log_probs(captioner.decoder, captioner.memory(one), WORDS) for one in (batch, hole))
        falls.append(float(before[place] - after[place]))
    return sum(falls) / len(falls)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_hiding_is_what_changing_the_map_one_by_one_is(kind):
    captioner = build(5, **KINDS[kind]).double().eval()
    maps = 3 + 2 * np.random.default_rng(4).normal(size=(6, 5, 2, 3))
    plain, batch = mean_map(maps), video_of(torch.from_numpy(maps.mean((2, 3))))
    seen = Ranked(plain.maps, plain.weights)
    test = DeletionTest(count=3, seeds=(0, 0, 5))
    test.add_gradcam(captioner, batch, WORDS, seen)
    (found,) = test.results()
    assert (found.words, found.count) == (len(WORDS), 3)
    assert found.attended == pytest.approx(slowly(captioner, batch, seen, 3), abs=1e-12)
    assert abs(found.attended) > 1e-8
    assert found.random[0] == found.random[1] != found.random[2]


def test_hiding_what_is_the_fill_changes_nothing():
    captioner = build(5).eval()
    fill = mean_scene(captioner, 5)
    assert np.abs(fill - 3).max() < 1.5, "the mean of what the statistics were taken of"
    assert not mean_scene(Captioner(scene=Branch(captioner.scene, captioner.scene_decoder)), 5).any()
    maps = np.tile(fill[:, None, None], (6, 1, 2, 2))
    test = DeletionTest()
    test.add_gradcam(captioner, video_of(torch.from_numpy(maps.mean((2, 3)))), WORDS, mean_map(maps))
    for found in test.results():
        assert max(map(abs, (found.attended, *found.random))) < 1e-5


@pytest.mark.parametrize(("count", "tested"), [(5, True), (6, False), (40, False)])
def test_a_video_of_no_more_places_than_are_hidden_is_left_out(count, tested):
    maps = 3 + np.random.default_rng(4).random((6, 5, 1, 1)).astype(np.float32)
    test = DeletionTest(count=count)
    test.add_gradcam(build(5), video_of(torch.from_numpy(maps.mean((2, 3)))), WORDS, mean_map(maps))
    assert bool(test.results()) is tested


def test_words_that_no_place_raised_are_left_out():
    captioner, maps = build(5).eval(), np.random.default_rng(4).random((6, 5, 2, 2)).astype(np.float32) + 3
    batch, whole = video_of(torch.from_numpy(maps.mean((2, 3)))), mean_map(maps)
    test, falls = DeletionTest(count=2), []
    test.add_gradcam(captioner, batch, WORDS, Blind(whole.maps, whole.weights))
    (found,) = test.results()
    assert found.words == len(WORDS) - 2
    for length in (2, 4):
        prefix = DeletionTest(count=2)
        prefix.add_gradcam(captioner, batch, WORDS[:length], Ranked(whole.maps, whole.weights))
        falls.append(prefix.results()[0])
    # The first two words, and all four: the rest is what the other two cost.
    assert found.attended * 2 == pytest.approx(falls[1].attended * 4 - falls[0].attended * 2, abs=1e-5)
    test = DeletionTest()
    test.add_gradcam(captioner, batch, [], whole)
    test.add_gradcam(build(5, branches="object"), batch, WORDS, whole)
    assert test.results() == ()
