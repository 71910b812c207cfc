"""Captions a second: cached greedy and beam search against running the whole prefix again for every word.

The rivals are torch's own `nn.TransformerDecoder` with the very weights of ours, so the captions must be identical; eos
is barred, so that every caption takes the full number of steps. The floor is the bare matrix products of the cached
search. Single thread, CPU-seconds, rivals in turn in one process; medians and quartiles.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.timing import measure, write
from decoders import TransformerDecoder, VideoMemory, beam_search, greedy_search
from decoders.layers import DecoderLayer


class Rerun(nn.Module):
    """Our decoder's weights in torch's layers, with no cache: every word runs the whole prefix."""

    def __init__(self, ours: TransformerDecoder, last_only: bool) -> None:
        super().__init__()
        self.ours, self.last_only = ours, last_only
        first = ours.layers[0]
        layer = nn.TransformerDecoderLayer(
            ours.channels, first.attention.heads, first.feed_forward[0].out_features, batch_first=True
        )
        self.layers = nn.TransformerDecoder(layer, len(ours.layers)).eval()
        for mine, theirs in zip(ours.layers, self.layers.layers, strict=True):
            _copy(mine, theirs)

    def log_probs(self, words: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """Of the word after the last ``[N V]``; where ``last_only`` is off, every position pays for the vocabulary."""
        causal = nn.Transformer.generate_square_subsequent_mask(words.shape[1]).isinf()
        x = self.layers(self.ours._embed(words, 0), encoded, tgt_mask=causal, memory_key_padding_mask=~mask)
        logits = self.ours.output(x[:, -1:] if self.last_only else x)[:, -1]
        return logits.log_softmax(-1).index_fill(1, torch.tensor([0, 1, 2]), -torch.inf)

    @torch.inference_mode()
    def greedy(self, memory: VideoMemory, steps: int) -> Tensor:
        """Greedy captions ``[B steps]``."""
        encoded, mask = self.ours.encode(memory)
        words = torch.full((memory.num_videos, 1), self.ours.bos)
        for _ in range(steps):
            best = self.log_probs(words, encoded["frames"], mask).argmax(1, keepdim=True)
            words = torch.cat([words, best], 1)
        return words[:, 1:]

    @torch.inference_mode()
    def beam(self, memory: VideoMemory, beam: int, steps: int) -> Tensor:
        """The best caption of every beam ``[B steps]``; the memory is repeated for every hypothesis."""
        encoded, mask = self.ours.encode(memory)
        videos = memory.num_videos
        words, total = torch.full((videos, 1), self.ours.bos), torch.zeros(videos, 1)
        for _ in range(steps):
            width = len(words) // videos
            repeated = encoded["frames"].repeat_interleave(width, 0), mask.repeat_interleave(width, 0)
            log_probs = self.log_probs(words, *repeated).unflatten(0, (videos, width))
            vocabulary = log_probs.shape[2]
            total, choice = (total[:, :, None] + log_probs).flatten(1).topk(beam, 1)
            rows = (choice // vocabulary + width * torch.arange(videos)[:, None]).flatten()
            words = torch.cat([words[rows], (choice % vocabulary).reshape(-1, 1)], 1)
        return words.unflatten(0, (videos, beam))[:, 0, 1:]


@torch.inference_mode()
def floor(decoder: TransformerDecoder, memory: VideoMemory, beam: int, steps: int) -> None:
    """The matrix products that the cached search cannot do without, and nothing else."""
    frames = memory.frames.flatten(0, 1)
    rows = torch.randn(memory.num_videos * beam, decoder.channels)
    hidden = torch.randn(len(rows), decoder.layers[0].feed_forward[0].out_features)
    frames_hidden = torch.randn(len(frames), hidden.shape[1])
    for layer in decoder.encoders["frames"]:
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value, layer.attention.output):
            linear(frames)
        layer.feed_forward[0](frames)
        layer.feed_forward[2](frames_hidden)
    for layer in decoder.layers:
        layer.view_keys_values("frames", frames)
    for step in range(steps):
        now = rows[: memory.num_videos] if step == 0 else rows
        for layer in decoder.layers:
            own, cross = layer.attention, layer.view_attention["frames"]
            for linear in (own.query, own.key, own.value, own.output, cross.query, cross.output, layer.feed_forward[0]):
                linear(now)
            layer.feed_forward[2](hidden[: len(now)])
        decoder.output(now)


def main(quick: bool = False) -> None:
    """Measure, check that all captions agree, and write ``results/decoding.json``."""
    torch.manual_seed(0)
    videos, vocabulary, steps = (16, 2_000, 12) if quick else (64, 10_000, 30)
    decoder = TransformerDecoder(vocabulary).eval()
    memory = VideoMemory(torch.randn(videos, 10, decoder.channels), torch.rand(videos, 10) < 0.9)
    full, last = Rerun(decoder, last_only=False).eval(), Rerun(decoder, last_only=True).eval()
    limits = {"max_length": steps, "min_length": steps}
    workloads: dict[str, dict[str, Callable[[], Tensor | None]]] = {
        "greedy": {
            "ours": lambda: greedy_search(decoder, memory, **limits).words[:, 0],
            "nn.TransformerDecoder, all positions": lambda: full.greedy(memory, steps),
            "no cache, last position": lambda: last.greedy(memory, steps),
            "floor": lambda: floor(decoder, memory, 1, steps),
        },
        "beam 5": {
            "ours": lambda: beam_search(decoder, memory, 5, **limits).words[:, 0],
            "no cache, last position": lambda: last.beam(memory, 5, steps),
            "floor": lambda: floor(decoder, memory, 5, steps),
        },
    }
    size = {"videos": videos, "vocabulary": vocabulary, "steps": steps, "quick": quick}
    write("decoding", {"size": size, **{name: _measure(name, rivals, videos) for name, rivals in workloads.items()}})


def _measure(workload: str, rivals: dict[str, Callable[[], Tensor | None]], videos: int) -> dict[str, dict[str, float]]:
    captions = {name: run() for name, run in rivals.items()}  # a warm-up, too
    for name, words in captions.items():
        if words is not None and not torch.equal(words, captions["ours"]):
            raise AssertionError(f"{workload}: captions of {name!r} differ from ours")
    table = {}
    times = measure(rivals, repetitions=7, warm_up=0)
    for name, taken in times.items():
        ratio = taken["median"] / times["ours"]["median"]
        speed = 1e3 * videos / taken["median"]
        table[name] = {**taken, "captions_per_second": round(speed, 2), "times_ours": round(ratio, 2)}
        print(f"{workload:8} {name:38} {speed:8.1f} captions/s   {ratio:6.2f} x the time of ours")
    return table


def _copy(ours: DecoderLayer, theirs: nn.TransformerDecoderLayer) -> None:
    pairs = ((ours.attention, theirs.self_attn), (ours.view_attention["frames"], theirs.multihead_attn))
    with torch.no_grad():
        for mine, other in pairs:
            parts = (mine.query, mine.key, mine.value)
            other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            other.out_proj.load_state_dict(mine.output.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[2].state_dict())
    norms = (ours.attention_norm, ours.view_norm, ours.feed_forward_norm)
    for mine_norm, other_norm in zip(norms, (theirs.norm1, theirs.norm2, theirs.norm3), strict=True):
        other_norm.load_state_dict(mine_norm.state_dict())


if __name__ == "__main__":
    main()
