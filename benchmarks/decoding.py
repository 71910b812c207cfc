"""Captions a second: cached greedy and beam search against running the whole prefix again for every word.

The rivals are torch's own `nn.TransformerDecoder` and Hugging Face's BART (where ``transformers`` is installed) with
the very weights of ours, so captions must be identical; eos is barred, so that every caption takes the full number of
steps. The floor is the bare matrix products of the cached search. In "real lengths" captions end, and finished rows
leave the batch or stay. Single thread, CPU-seconds, rivals in turn in one process; medians and quartiles.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import bart
from benchmarks.lengths import Ending, drawn_lengths, greedy_one_by_one, greedy_to_the_end
from benchmarks.timing import growth, measure, write
from decoders import (
    AttentionLSTMDecoder,
    Decoder,
    DecoderLayer,
    Rules,
    TransformerDecoder,
    VideoMemory,
    beam_search,
    greedy_search,
)

HF = "Hugging Face BART, cached"


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
        x = self.layers(self.ours._embed(words, None), encoded, tgt_mask=causal, memory_key_padding_mask=~mask)
        logits = self.ours.output(x[:, -1:] if self.last_only else x)[:, -1]
        return logits.log_softmax(-1).index_fill(1, torch.tensor([0, 1, 2]), -torch.inf)

    @torch.inference_mode()
    def greedy(self, memory: VideoMemory, steps: int) -> Tensor:
        """Greedy captions ``[B steps]``."""
        encoded, masks = self.ours.encode(memory)
        mask = masks["frames"]
        words = torch.full((memory.num_videos, 1), self.ours.bos)
        for _ in range(steps):
            best = self.log_probs(words, encoded["frames"], mask).argmax(1, keepdim=True)
            words = torch.cat([words, best], 1)
        return words[:, 1:]

    @torch.inference_mode()
    def beam(self, memory: VideoMemory, beam: int, steps: int) -> Tensor:
        """The best caption of every beam ``[B steps]``; the memory is repeated for every hypothesis."""
        encoded, masks = self.ours.encode(memory)
        mask = masks["frames"]
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
    """Check that all captions agree; unless ``quick``, measure too, and write ``results/decoding.json``."""
    torch.manual_seed(0)
    videos, vocabulary, steps = (8, 500, 8) if quick else (64, 10_000, 30)
    decoder = TransformerDecoder(vocabulary).eval()
    lstm = AttentionLSTMDecoder(vocabulary).eval()
    memory = VideoMemory(torch.randn(videos, 10, decoder.channels), torch.rand(videos, 10) < 0.9)
    workloads = _forced(decoder, memory, steps) | _lstm(lstm, memory, steps) | _real(decoder, lstm, memory, steps)
    for name, rivals in workloads.items():
        _agree(name, rivals)
    if quick:
        return
    tables = {name: _measure(name, rivals, videos) for name, rivals in workloads.items()}
    size = {"videos": videos, "vocabulary": vocabulary, "steps": steps}
    grown = _growth(decoder, memory)
    write("decoding", {"size": size, **tables, "growth": grown, "bars": _bars(tables)})


Rivals = dict[str, Callable[[], Tensor | None]]


def _forced(decoder: TransformerDecoder, memory: VideoMemory, steps: int) -> dict[str, Rivals]:
    """Captions of ``steps`` words each."""
    full, last = Rerun(decoder, last_only=False).eval(), Rerun(decoder, last_only=True).eval()
    limits: dict[str, Any] = {"max_length": steps, "rules": Rules(min_length=steps)}
    greedy: Rivals = {
        "ours": lambda: greedy_search(decoder, memory, **limits).words[:, 0],
        "nn.TransformerDecoder, all positions": lambda: full.greedy(memory, steps),
        "no cache, last position": lambda: last.greedy(memory, steps),
        "floor": lambda: floor(decoder, memory, 1, steps),
    }
    beam: Rivals = {
        "ours": lambda: beam_search(decoder, memory, 5, **limits).words[:, 0],
        "no cache, last position": lambda: last.beam(memory, 5, steps),
        "floor": lambda: floor(decoder, memory, 5, steps),
    }
    if bart.installed():
        rival = bart.Bart(decoder)
        greedy[HF] = lambda: rival.generate(memory, 1, steps)
        beam[HF] = lambda: rival.generate(memory, 5, steps)
    else:
        print(f"{HF}: left out, transformers is not installed (it is in the dependency group dev)")
    return {"greedy": greedy, "beam 5": beam}


def _lstm(lstm: AttentionLSTMDecoder, memory: VideoMemory, steps: int) -> dict[str, Rivals]:
    """All videos together, or one after the other."""
    return {
        "LSTM, greedy": {
            "ours": lambda: greedy_search(lstm, memory, steps, rules=Rules(min_length=steps)).words[:, 0],
            "one video at a time": lambda: greedy_one_by_one(_Barred(lstm), memory, steps),
        }
    }


def _real(
    decoder: TransformerDecoder, lstm: AttentionLSTMDecoder, memory: VideoMemory, steps: int
) -> dict[str, Rivals]:
    """Captions that end, whose rows leave or stay."""
    lengths = drawn_lengths(memory.num_videos, steps)

    def rivals(inner: Decoder) -> Rivals:
        ending = Ending(inner, lengths).eval()
        return {
            "ours": lambda: greedy_search(ending, memory, steps).words[:, 0],
            "all rows take all steps": lambda: greedy_to_the_end(ending, memory, steps),
        }

    return {"real lengths, greedy": rivals(decoder), "real lengths, LSTM": rivals(lstm)}


def _agree(workload: str, rivals: Rivals) -> None:
    captions = {name: run() for name, run in rivals.items()}  # a warm-up, too
    for name, words in captions.items():
        if words is not None and not torch.equal(words, captions["ours"]):
            raise AssertionError(f"{workload}: captions of {name!r} differ from ours")
    print(f"{workload}: the captions of all rivals agree")


def _measure(workload: str, rivals: Rivals, videos: int) -> dict[str, dict[str, float]]:
    table = {}
    times = measure(rivals, repetitions=7, warm_up=0)
    for name, taken in times.items():
        ratio = taken["median"] / times["ours"]["median"]
        speed = 1e3 * videos / taken["median"]
        table[name] = {**taken, "captions_per_second": round(speed, 2), "times_ours": round(ratio, 2)}
        print(f"{workload:20} {name:38} {speed:8.1f} captions/s   {ratio:6.2f} x the time of ours")
    return table


def _growth(decoder: TransformerDecoder, memory: VideoMemory) -> dict[str, float]:
    """Exponents of our greedy search in the number of words and of videos."""
    words = [8, 16, 32, 60]
    counts = [count for count in (8, 16, 32, 64) if count <= memory.num_videos]
    some = {count: memory.select(torch.arange(count)) for count in counts}

    def run(count: int, steps: int) -> Callable[[], object]:
        return lambda: greedy_search(decoder, some[count], steps, rules=Rules(min_length=steps))

    by_words = measure({str(steps): run(16, steps) for steps in words}, repetitions=7, warm_up=1)
    by_videos = measure({str(count): run(count, 8) for count in counts}, repetitions=7, warm_up=1)
    return {
        "exponent_words_16_videos": growth(
            [float(steps) for steps in words], [by_words[str(n)]["median"] for n in words]
        ),
        "exponent_videos_8_words": growth([float(n) for n in counts], [by_videos[str(n)]["median"] for n in counts]),
    }


def _bars(tables: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, object]]:
    """What performance.md, section 4, asks, and the ratio reached."""

    def times(workload: str, rival: str) -> float:
        return tables[workload][rival]["median"] / tables[workload]["ours"]["median"]

    asked = [
        (
            "greedy, times as fast as the nn.TransformerDecoder loop",
            "greedy",
            "nn.TransformerDecoder, all positions",
            9.0,
        ),
        ("beam 5, times as fast as without a cache", "beam 5", "no cache, last position", 6.0),
        ("greedy, times as fast as Hugging Face", "greedy", HF, 1.15),
        ("beam 5, times as fast as Hugging Face", "beam 5", HF, 1.15),
        ("LSTM, times as fast as one video at a time", "LSTM, greedy", "one video at a time", 8.6),
        ("LSTM, dropping finished rows", "real lengths, LSTM", "all rows take all steps", 2.4),
    ]
    bars: list[dict[str, object]] = [
        {"what": what, "reached": round(times(workload, rival), 2), "bar": bar, "better": "higher"}
        for what, workload, rival, bar in asked
        if rival in tables[workload]
    ]
    for workload in ("greedy", "beam 5"):
        reached = round(1 / times(workload, "floor"), 2)
        bars.append({"what": f"{workload}, times the GEMM floor", "reached": reached, "bar": 1.5, "better": "lower"})
    return bars


class _Barred(Ending):
    """A decoder that never ends a caption, as `greedy_search` with a least length sees it."""

    def __init__(self, inner: Decoder) -> None:
        super().__init__(inner, torch.zeros(1))

    def init_state(self, memory: VideoMemory) -> dict[str, Tensor]:
        return self.inner.init_state(memory) | {"memory.left": torch.full((memory.num_videos,), -1)}


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
