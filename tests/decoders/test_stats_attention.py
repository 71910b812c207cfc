"""The units of STaTS and their gate: where they look, what selection and sharing mean, and their gradients."""

from dataclasses import replace

import pytest
import torch

from decoders.stats_attention import TemporoSpatial, UnitGate
from tests.decoders.stats_cases import WORDS, C, build


def test_spatial_attention_of_a_grid_is_one_for_all_steps_and_does_not_know_their_order(memory):
    order = torch.tensor([2, 0, 1])
    memory = replace(memory, grid_mask=torch.ones(3, 3, dtype=torch.bool))
    shuffled = replace(memory, grid=memory.grid[:, order])
    shared = build(("grid",))
    before, after = (shared.attention(WORDS, m)["st_regions.grid"][:, 0] for m in (memory, shuffled))
    assert before.shape == (3, 4)
    torch.testing.assert_close(before, after)
    own = build(("grid",), spatial="per_frame")
    before, after = (own.attention(WORDS, m)["st_regions.grid"][:, 0] for m in (memory, shuffled))
    assert before.shape == (3, 3, 4)
    torch.testing.assert_close(before[:, order], after)
    assert (before - after).abs().max() > 1e-2


def test_padded_steps_are_not_averaged(memory):
    decoder = build(("grid",))
    padded = memory.grid.masked_fill(~memory.grid_mask[..., None, None], torch.nan)
    torch.testing.assert_close(decoder(WORDS, replace(memory, grid=padded)), decoder(WORDS, memory))


@pytest.mark.parametrize("visual", ["input", "output"])
def test_weights_have_names_and_sum_to_one_on_what_is_real(memory, visual):
    decoder = build(("regions", "grid", "frames"), visual=visual)
    trace = decoder.attention(WORDS, memory)
    assert decoder.units == ("regions.st", "regions.ts", "grid.st", "grid.ts", "frames.st", "frames.ts")
    assert {name: tuple(value.shape[2:]) for name, value in trace.items()} == {
        "gate": (6,),
        "st_regions.regions": (5, 3),
        "ts_frames.regions": (5,),
        "ts_regions.regions": (3,),
        "st_regions.grid": (4,),
        "ts_frames.grid": (3,),
        "ts_regions.grid": (4,),
        "ts_frames.frames": (5,),
    }
    for name, value in trace.items():
        total = value.sum(-1)
        one = memory.region_mask.any(-1)[:, None].to(total) if name == "st_regions.regions" else torch.ones(())
        torch.testing.assert_close(total, one.expand_as(total))
    assert not trace["st_regions.regions"].masked_select(~memory.region_mask[:, None]).any()
    assert not trace["ts_frames.frames"].masked_select(~memory.frame_mask[:, None]).any()


def test_selection_at_low_temperature_is_the_maximum(memory):
    soft, hard = build(order="ts"), build(order="ts", selection="hard")
    expected = hard(WORDS, memory)
    chosen = hard.attention(WORDS, memory)["ts_frames.regions"]
    assert torch.equal(chosen.unique(), torch.tensor([0.0, 1.0]))
    assert (soft(WORDS, memory) - expected).abs().max() > 1e-6
    soft.anneal(1e-4)
    torch.testing.assert_close(soft(WORDS, memory), expected)
    # As Eq. 9-11 ask: the spatial softmax over what is real in the one frame.
    seen = memory.region_mask[torch.arange(3)[:, None], chosen.argmax(-1)]
    assert torch.equal(hard.attention(WORDS, memory)["ts_regions.regions"] > 0, seen)


@pytest.mark.parametrize(
    ("selection", "learns"), [("soft", True), ("straight_through", True), ("topk", True), ("hard", False)]
)
def test_gradient_of_the_selection(memory, selection, learns):
    decoder = build(order="ts", selection=selection).train()
    assert float(decoder.temperature) == pytest.approx(0.1)
    decoder(WORDS, memory).square().sum().backward()
    gradient = decoder.ts["regions"].temporal.key.weight.grad
    assert (gradient is not None and bool(gradient.abs().max() > 0)) == learns
    assert all(value.grad is None or value.grad.isfinite().all() for value in decoder.parameters())


def test_straight_through_and_top_one_look_as_the_maximum_does(memory):
    expected = build(order="ts", selection="hard")(WORDS, memory)
    torch.testing.assert_close(build(order="ts", selection="straight_through")(WORDS, memory), expected)
    torch.testing.assert_close(build(order="ts", selection="topk", top_k=1)(WORDS, memory), expected)
    soft = build(order="ts", temperature=2.0)(WORDS, memory)
    torch.testing.assert_close(build(order="ts", selection="topk", top_k=9, temperature=2.0)(WORDS, memory), soft)
    chosen = build(order="ts", selection="topk", top_k=2).attention(WORDS, memory)["ts_frames.regions"]
    assert (chosen > 0).sum(-1).unique().tolist() == [2]


def test_hard_at_test_is_soft_in_training(memory):
    settings = {"order": "ts", "temperature": 1.0, "dropout": 0.0}
    soft, mixed = build(**settings), build(at_test="hard", **settings)
    torch.testing.assert_close(mixed(WORDS, memory), build(selection="hard", **settings)(WORDS, memory))
    torch.testing.assert_close(mixed.train()(WORDS, memory), soft(WORDS, memory))


def test_equal_scores_gate_to_the_mean_and_tanh_comes_last():
    gate, units, hidden = UnitGate(2, C, 10), [torch.randn(2, 3, C), torch.randn(2, 3, C)], torch.randn(2, 3, C)
    x, weights = gate(units, hidden)
    assert ((weights > 0) & (weights < 1)).all()
    assert ((x > -1) & (x < 1)).all()
    for score in gate.score:
        torch.nn.init.zeros_(score.weight)
    x, weights = gate(units, hidden)
    torch.testing.assert_close(x, torch.tanh((units[0] + units[1]) / 2))
    assert torch.equal(weights, torch.full((2, 3, 2), 0.5))
    assert not any(parameter.shape == (10,) for parameter in gate.parameters()), "Eq. 12 prints no biases"


def test_one_unit_has_no_gate_but_its_tanh():
    gate, unit = UnitGate(1, C, 10), torch.randn(2, 3, C)
    assert not list(gate.parameters())
    x, weights = gate([unit], torch.randn(2, 3, C))
    torch.testing.assert_close(x, unit.tanh())
    assert torch.equal(weights, torch.ones(2, 3, 1))


def test_no_two_attentions_share_parameters():
    decoder = build(("regions", "grid"))
    attentions = [decoder.st[s].attention for s in ("regions", "grid")]
    attentions += [module for s in ("regions", "grid") for module in (decoder.ts[s].temporal, decoder.ts[s].spatial)]
    assert len({parameter.data_ptr() for module in attentions for parameter in module.parameters()}) == 6 * 4


@pytest.mark.parametrize("gap", [2.7, 3.1, 3.3, 4.3, 8.5, 8.65, 8.8, 20.0])
def test_a_slot_that_holds_something_in_unattended_frames_only_has_finite_gradients(gap):
    unit = TemporoSpatial(query=2, channels=3, attention=1, places=True).float()
    with torch.no_grad():
        unit.temporal.query.weight.zero_()
        unit.temporal.query.bias.zero_()
        unit.temporal.score.weight.fill_(gap / 2)
    mask = torch.tensor([[[True, False], [True, True]]])  # the second slot is empty in the attended frame
    values = 100 * torch.randn(1, 2, 2, 3, dtype=torch.float32) * mask[..., None]
    values.requires_grad_()
    parts = {
        "values": values,
        "mask": mask,
        "real": torch.ones(1, 2, dtype=torch.bool),
        "ts.frame_keys": torch.tensor([[[20.0], [-20.0]]], dtype=torch.float32, requires_grad=True),
        "ts.place_keys": torch.randn(1, 2, 2, 1, dtype=torch.float32),
    }
    x, trace = unit(torch.randn(1, 1, 2, dtype=torch.float32), parts, torch.tensor(0.1, dtype=torch.float32))
    x.sum().backward()
    assert values.grad.isfinite().all()
    assert parts["ts.frame_keys"].grad.isfinite().all()
    assert trace["ts_regions"][0, 0, 1] < 1e-8
    torch.testing.assert_close(x[0, 0], values[0, 0, 0])
