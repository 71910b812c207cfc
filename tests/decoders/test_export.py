"""TransformerDecoder outside plain PyTorch: torch.export, torch.compile, autocast."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.export import Dim, export

from decoders import TransformerDecoder, VideoMemory
from decoders.base import State


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    """Without the checks of annotations, which compare sizes that are to stay open."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Step(torch.nn.Module):
    """The step of a decoder as a module, which is what is exported."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, word: Tensor, state: State) -> tuple[Tensor, State]:
        return self.decoder.step(word, state)


def decoder(gated: bool = False) -> TransformerDecoder:
    torch.manual_seed(3)
    made = TransformerDecoder(20, channels=16, heads=2, hidden=8, max_length=12, num_layers=1, gated=gated).eval()
    for name, weight in made.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(weight, 0.5)
    return made


def memory(videos: int, frames: int) -> VideoMemory:
    lengths = torch.tensor([frames] * (videos - 1) + [1])
    mask, objects = torch.arange(frames) < lengths[:, None], torch.randn(videos, frames + 2, 16)
    real = torch.arange(frames + 2) <= lengths[:, None]
    return VideoMemory(torch.randn(videos, frames, 16), mask, objects=objects, object_mask=real)


def after(decoder: TransformerDecoder, videos: int, frames: int, words: int) -> State:
    state = decoder.init_state(memory(videos, frames))
    for word in range(words):
        _, state = decoder.step(torch.full((videos,), 3 + word), state)
    return state


@pytest.mark.parametrize("gated", [False, True])
@torch.no_grad()
def test_an_exported_step_takes_any_batch_memory_and_prefix(gated: bool) -> None:
    made = decoder(gated)
    state = after(made, videos=3, frames=5, words=4)
    shapes = {name: dict.fromkeys(range(value.ndim), Dim.AUTO) for name, value in state.items()}
    exported = export(Step(made), (torch.tensor([4, 5, 6]), state), dynamic_shapes=({0: Dim.AUTO}, shapes)).module()
    for videos, frames, words in ((5, 9, 6), (2, 1, 1), (4, 3, 9)):
        state, word = after(made, videos, frames, words), torch.arange(videos) + 4
        (found, found_state), (expected, expected_state) = exported(word, state), made.step(word, state)
        assert torch.allclose(found, expected, atol=1e-6)
        assert all(torch.allclose(found_state[name], value, atol=1e-6) for name, value in expected_state.items())


@pytest.mark.filterwarnings("ignore")  # what dynamo warns of depends on what it traced before
@torch.no_grad()
def test_a_compiled_step_equals_the_eager_one_without_a_break() -> None:
    made = decoder()
    compiled = torch.compile(Step(made), backend="aot_eager", dynamic=True, fullgraph=True)
    for videos, frames, words in ((3, 5, 4), (2, 7, 6)):
        state, word = after(made, videos, frames, words), torch.arange(videos) + 4
        found, expected = compiled(word, state)[0], made.step(word, state)[0]
        assert torch.allclose(found, expected, atol=1e-6)


def test_autocast_stays_close_and_gradients_flow() -> None:
    made, videos = decoder(), memory(3, 5)
    words = torch.tensor([[1, 4, 5], [1, 6, 7], [1, 8, 9]])
    with torch.autocast("cpu", torch.bfloat16):
        logits = made(words, videos)
        stepped, _ = made.step(words[:, 0], made.init_state(videos))
    exact = made(words, videos)
    assert torch.allclose(logits.double(), exact, atol=0.1)
    assert torch.allclose(stepped.double(), exact[:, 0].log_softmax(-1), atol=0.1)
    grads = torch.autograd.grad(logits.double().square().sum(), list(made.parameters()))
    assert all(bool(grad.isfinite().all()) and bool(grad.any()) for grad in grads)
