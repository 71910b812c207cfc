"""The captioner as ONNX: its numbers, its captions, and what cannot be exported."""

import importlib.util
import json
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from decoders import VideoMemory, greedy_search
from stg.config.model import GraphConfig, ModelConfig
from stg.models.branches import SceneFrames
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.onnx_export import OnnxCaptioner, export_onnx
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError
from stg.text.vocabulary import Vocabulary
from tests.readme import block

WORDS = Vocabulary.build(["a blue square moves to the left of one red circle"], min_count=1, max_words=9)


WIDTHS = FeatureWidths(5, 4, 6, 0, 0)


def config(**settings: object) -> ModelConfig:
    return ModelConfig(**{"channels": 16, "heads": 2, "hidden": 8, "layers": 1, **settings})


def captioner(**settings: object) -> Captioner:
    torch.manual_seed(0)
    made = build_captioner(
        config(**settings), GraphConfig(), widths=WIDTHS, vocabulary=len(WORDS), max_words=WORDS.max_words
    )
    for part in made.standardise.values():
        part.fit([3 + 2 * torch.randn(50, len(part.mean))])
    with torch.no_grad():
        made.decoder.output.bias.normal_()  # captions of several lengths
        made.decoder.output.weight.mul_(4)
    return made.eval()


def features(videos: int, frames: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(videos)
    mask = np.arange(frames) < draw.integers(1, frames + 1, videos)[:, None]
    sizes = {"scene": 5, "motion": 4}
    return {"mask": mask} | {
        name: 3 + 2 * draw.standard_normal((videos, frames, width), dtype=np.float32) for name, width in sizes.items()
    }


def memory(model: Captioner, scene: np.ndarray, mask: np.ndarray, motion: np.ndarray) -> VideoMemory:
    read = {name: model.standardise[name](torch.from_numpy(v)) for name, v in (("scene", scene), ("motion", motion))}
    frames = SceneFrames(read["scene"], read["motion"], torch.from_numpy(mask))
    return VideoMemory(frame_mask=frames.mask, **model.scene.views(frames))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Captioner, Path]:
    """A captioner and what was exported of it; the checks of annotations would fix sizes that are to stay open."""
    model = captioner()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    jaxtyping.config.update("jaxtyping_disable", True)
    folder = export_onnx(model, WORDS, tmp_path_factory.mktemp("onnx") / "captioner")
    jaxtyping.config.update("jaxtyping_disable", False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.decoder.positions.shape[0] == WORDS.max_words + 2
    return model, folder


@pytest.mark.parametrize(("videos", "frames"), [(1, 1), (4, 6), (7, 50)])
@torch.no_grad()
def test_numbers_and_captions_are_those_of_the_library(
    exported: tuple[Captioner, Path], videos: int, frames: int
) -> None:
    model, folder = exported
    onnx, given = OnnxCaptioner(folder), features(videos, frames)
    read = memory(model, **given)
    expected = greedy_search(model.decoder, read, WORDS.max_words + 1).words[:, 0]
    assert onnx.words(**given).tolist() == expected.tolist()
    assert onnx(**given) == [WORDS.decode(words) for words in expected.tolist()]
    state, word = model.decoder.init_state(read), torch.full((videos,), model.decoder.bos)
    ours = dict(zip([entry.name for entry in onnx.encoder.get_outputs()], onnx.encoder.run(None, given), strict=True))
    for name, value in ours.items():
        np.testing.assert_allclose(value, state[name], atol=1e-4)
    log_probs = onnx.step.run(["log_probs"], {"word": word.numpy(), **{k: v.numpy() for k, v in state.items()}})[0]
    np.testing.assert_allclose(log_probs, model.decoder.step(word, state)[0], atol=1e-4)


def test_the_lines_in_readme_caption_from_features(
    exported: tuple[Captioner, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, folder = exported
    monkeypatch.chdir(tmp_path)
    # What the export writes is tested above, and takes long.
    monkeypatch.setattr("stg.models.export_onnx", lambda captioner, vocabulary, name: folder)
    Path("runs/msvd").mkdir(parents=True)
    bundle = CaptionerBundle(model, WORDS, config(), GraphConfig(), WIDTHS, {}, "float32")
    bundle.save(Path("runs/msvd/model.safetensors"))
    given = features(2, 3)
    exec(block("export_onnx").replace("captioner(scene, mask)", "captioner(scene, mask, motion)"), given)
    assert capsys.readouterr().out == f"{OnnxCaptioner(folder)(*map(given.get, ('scene', 'mask', 'motion')))}\n"


def test_captions_differ_in_length_and_know_no_special_word(exported: tuple[Captioner, Path]) -> None:
    words = OnnxCaptioner(exported[1]).words(**features(40, 5))
    lengths = (words != 0).sum(1)
    assert lengths.min() < lengths.max()
    assert not np.isin(words, [1, 3]).any()
    assert (words[:, 0] > 3).all()


def test_no_caption_ends_before_its_first_word(exported: tuple[Captioner, Path]) -> None:
    onnx, given = OnnxCaptioner(exported[1]), features(4, 5)
    likeliest = int(onnx.words(**given)[0, 0])
    onnx.record["eos"] = likeliest
    words = onnx.words(**given)
    assert words[0, 0] != likeliest
    assert words.shape[1] > 1


def test_arrays_that_do_not_fit(exported: tuple[Captioner, Path], tmp_path: Path) -> None:
    onnx, given = OnnxCaptioner(exported[1]), features(2, 3)
    with pytest.raises(UserError, match="reads mask, motion, scene; got mask, scene"):
        onnx(given["scene"])
    with pytest.raises(UserError, match=r"scene must have width 5; got an array of shape \[2, 3, 4\]"):
        onnx(given["scene"][..., :4], motion=given["motion"])
    with pytest.raises(UserError, match="holds no captioner that export_onnx wrote"):
        OnnxCaptioner(tmp_path)
    (tmp_path / "captioner.json").write_text(json.dumps({"format": "stg-onnx-captioner", "version": 2}))
    with pytest.raises(UserError, match="holds no captioner that export_onnx wrote"):
        OnnxCaptioner(tmp_path)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"branches": "object"}, "TransformerDecoder and reads objects"),
        ({"decoder": "stats"}, "STaTSDecoder and reads"),
    ],
)
def test_models_that_cannot_be_exported(settings: dict[str, str], named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"whose scene branch captions with the Transformer decoder; .*{named}"):
        export_onnx(captioner(**settings), WORDS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packages_that_are_missing(
    exported: tuple[Captioner, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"OnnxCaptioner needs onnxruntime: pip install 'stg-video\[onnx\]'"):
        OnnxCaptioner(exported[1])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert importlib.util.find_spec("onnxscript") is None
    with pytest.raises(UserError, match="export to ONNX needs onnxscript: pip install onnx onnxscript"):
        export_onnx(exported[0], WORDS, tmp_path)
