"""Training in bfloat16: where it is refused, and what stays float32."""

import copy
from typing import Any

import pytest
import torch

import stg.runtime.device
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import LossConfig
from stg.data.batches import CaptionBatch
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runtime.device import autocast, check_precision, cpu_capabilities, has_bfloat16
from stg.runtime.errors import UserError
from stg.training.losses import captioning_losses

CPU = torch.device("cpu")
BATCH_WIDTHS = FeatureWidths(scene=5, motion=4, objects=6, grid=7, audio=8)


def model(decoder: Any = "transformer") -> Captioner:
    torch.manual_seed(0)
    settings = ModelConfig(channels=16, hidden=24, layers=1, heads=2, dropout=0.0, decoder=decoder)
    return build_captioner(settings, GraphConfig(layers=2), widths=BATCH_WIDTHS, vocabulary=12, max_words=8)


def test_bfloat16_is_refused_where_it_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False, "cpu_name": "made up"}
    monkeypatch.setattr(stg.runtime.device, "cpu_capabilities", lambda: known)
    with pytest.raises(UserError, match=r"optim\.precision bfloat16 on cpu: it has no bfloat16 in hardware"):
        check_precision("bfloat16", CPU)
    check_precision("float32", CPU)
    monkeypatch.setitem(known, "amx_bf16", True)
    check_precision("bfloat16", CPU)
    assert not has_bfloat16(torch.device("mps"))


def test_what_the_processor_can_do_is_told_without_torchs_help(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    assert cpu_capabilities()
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\nbugs\t: none\n")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(stg.runtime.device, "Path", lambda name: listing)
    assert has_bfloat16(CPU)
    listing.write_text("flags\t\t: fpu avx512f\n")
    assert not has_bfloat16(CPU)


def test_float32_changes_nothing(caption_batch: CaptionBatch) -> None:
    whole = model()
    with autocast("float32", CPU):
        assert not torch.is_autocast_enabled("cpu")
        found = captioning_losses(whole, caption_batch)["loss"]
    assert torch.equal(found, captioning_losses(whole, caption_batch)["loss"])


@pytest.mark.parametrize("decoder", ["transformer", "attention_lstm", "stats"])
def test_losses_of_bfloat16_are_float32_and_near(decoder: str, rich_batch: CaptionBatch) -> None:
    whole = model(decoder)
    exact = captioning_losses(whole, rich_batch)
    seen = []
    assert whole.scene_decoder is not None
    whole.scene_decoder.output.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with autocast("bfloat16", CPU):
        found = captioning_losses(whole, rich_batch)
    assert seen == [torch.bfloat16]
    assert found.keys() == exact.keys()
    for name, loss in found.items():
        assert loss.dtype == torch.float32, name
        assert loss.item() == pytest.approx(exact[name].item(), rel=0.02, abs=2e-3), name
    found["loss"].backward()
    weights = [weight for weight in whole.parameters() if weight.grad is not None]
    assert all(weight.grad.dtype == torch.float32 and weight.grad.isfinite().all() for weight in weights)


def test_losses_are_computed_in_float32_from_rounded_logits(caption_batch: CaptionBatch) -> None:
    """Exact on what the decoders said: no softmax, logarithm or sum is rounded to bfloat16."""
    whole, said = model(), {}
    for branch in ("scene_decoder", "object_decoder"):
        decoder = getattr(whole, branch)
        decoder.output.register_forward_hook(
            lambda module, inputs, output, branch=branch: said.__setitem__(branch, output.detach().double())
        )
    with autocast("bfloat16", CPU):
        found = captioning_losses(whole, caption_batch, LossConfig(keep_empty=True, distill_weight=4.0))
    scene, objects = (said[branch].log_softmax(-1) for branch in ("scene_decoder", "object_decoder"))
    targets = caption_batch.targets[caption_batch.real]
    for name, log_probs in {"scene": scene, "object": objects}.items():
        expected = torch.nn.functional.nll_loss(log_probs, targets)
        assert found[name].item() == pytest.approx(expected.item(), rel=1e-6), name
    divergence = (scene.exp() * (scene - objects)).sum() / len(targets)
    assert found["distill"].item() == pytest.approx(divergence.item(), rel=1e-5)


@pytest.mark.gpu
def test_a_step_in_bfloat16_on_a_gpu(caption_batch: CaptionBatch) -> None:
    device = torch.device("cuda")
    check_precision("bfloat16", device)
    whole = model().to(device)
    batch = copy.copy(caption_batch).pin_memory().to(device, non_blocking=True)
    exact = captioning_losses(whole, batch)["loss"]
    with autocast("bfloat16", device):
        losses = captioning_losses(whole, batch)
    losses["loss"].backward()
    assert losses["loss"].dtype == torch.float32
    assert losses["loss"].item() == pytest.approx(exact.item(), rel=0.02)
