"""
Your own decoder
================

A decoder reads the memory of a video and writes words. It fulfils one contract, and then every search, loss and command
of the library works with it. This page writes two decoders and holds them against the library's Transformer, on a
made task that shows what each can and cannot do.
"""

# %%
# The task
# --------
# A video is six frames, each of one colour. Its caption names the colours in their order. Nothing is detected here:
# ``decoders`` knows nothing of graphs, and takes any frame vectors as a ``VideoMemory``.

import matplotlib.pyplot as plt
import torch
from torch import nn

from decoders import Decoder, TransformerDecoder, VideoMemory, greedy_search, masked_softmax, mean_of_real
from stg.models import DECODERS, DecoderSpec

COLOURS = ("red", "green", "blue", "white", "black")
FRAMES, CHANNELS, FIRST = 6, 32, 4  # words 0 to 3 are special: pad, bos, eos, unknown
VOCABULARY = FIRST + len(COLOURS)

torch.manual_seed(0)
LOOK = torch.randn(len(COLOURS), CHANNELS)


def make_videos(count, generator):
    """Memory of the videos, and their captions with bos and eos."""
    colours = torch.randint(len(COLOURS), (count, FRAMES), generator=generator)
    frames = LOOK[colours] + 0.3 * torch.randn(count, FRAMES, CHANNELS, generator=generator)
    words = torch.cat([torch.full((count, 1), 1), FIRST + colours, torch.full((count, 1), 2)], 1)
    return VideoMemory(frames, torch.ones(count, FRAMES, dtype=torch.bool)), words


# %%
# The contract
# ------------
# Three methods are to be written. ``init_state`` is the state before the first word. ``advance`` reads one more word.
# ``features`` reads all words at once, for training. Keys of the state that begin with ``memory.`` have a row a video;
# all others have a row a hypothesis, so that a beam search can reorder them.
#
# The first decoder is a GRU that sees the mean of all frames with each word.


class MeanDecoder(Decoder):
    """A GRU that reads each word along with the mean of the frames."""

    def __init__(self, vocabulary, channels, **others):
        super().__init__(vocabulary, channels, **others)
        self.words, self.cell = nn.Embedding(vocabulary, channels), nn.GRUCell(2 * channels, channels)

    def init_state(self, memory):
        mean = mean_of_real(memory.frames, memory.frame_mask, 1)
        return {"memory.frames": memory.frames, "memory.mask": memory.frame_mask, "hidden": torch.zeros_like(mean)}

    def seen(self, hidden, frames, mask):
        return mean_of_real(frames, mask, 1)

    def advance(self, word, state):
        times = len(word) // len(state["memory.frames"])  # hypotheses a video
        frames, mask = (state[name].repeat_interleave(times, 0) for name in ("memory.frames", "memory.mask"))
        read = torch.cat([self.words(word), self.seen(state["hidden"], frames, mask)], 1)
        hidden = self.cell(read, state["hidden"])
        return hidden, state | {"hidden": hidden}

    def features(self, words, memory, video=None):
        state, found = self.init_state(memory if video is None else memory.select(video)), []
        for word in words.unbind(1):
            hidden, state = self.advance(word, state)
            found.append(hidden)
        return torch.stack(found, 1)


# %%
# The second one looks for what it needs: its state asks, and a softmax over the frames answers.


class AttentiveDecoder(MeanDecoder):
    """The same, with attention over frames that know their place."""

    def __init__(self, vocabulary, channels, **others):
        super().__init__(vocabulary, channels, **others)
        self.place = nn.Embedding(64, channels)
        self.query = nn.Linear(channels, channels)

    def seen(self, hidden, frames, mask):
        keys = frames + self.place.weight[: frames.shape[1]]
        scores = (keys * self.query(hidden)[:, None]).sum(2) / keys.shape[2] ** 0.5
        return (masked_softmax(scores, mask)[:, :, None] * keys).sum(1)


# %%
# Train all three
# ---------------
# ``forward`` gives the logits of the next word after each word. The rest is plain PyTorch.

made = {
    "GRU, mean of frames": MeanDecoder(VOCABULARY, CHANNELS),
    "GRU, attention": AttentiveDecoder(VOCABULARY, CHANNELS),
    "TransformerDecoder": TransformerDecoder(VOCABULARY, CHANNELS, 1, 1, heads=4, hidden=64, dropout=0.0),
}
losses = {name: [] for name in made}
for name, decoder in made.items():
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(300):
        memory, words = make_videos(32, generator)
        logits = decoder(words[:, :-1], memory)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses[name].append(loss.item())

# %%
# Caption new videos
# ------------------
# ``greedy_search`` takes any decoder; so do ``beam_search`` and the others. The mean says which colours there are, and
# not in which order: its decoder can only guess.

memory, words = make_videos(200, torch.Generator().manual_seed(2))
right = {}
print("truth:", *(COLOURS[word - FIRST] for word in words[0, 1:-1].tolist()))
for name, decoder in made.items():
    written = greedy_search(decoder.eval(), memory, max_length=FRAMES + 1).words[:, 0]
    right[name] = (written[:, :FRAMES] == words[:, 1:-1]).float().mean().item()
    said = [COLOURS[word - FIRST] for word in written[0].tolist() if word >= FIRST]
    print(f"{name}: {' '.join(said)}   ({right[name]:.0%} of all words right)")

figure, (left, axis) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", width_ratios=(3, 2))
for name, values in losses.items():
    smooth = torch.tensor(values).unfold(0, 10, 10).mean(1)
    left.plot(range(5, 300, 10), smooth, label=name)
left.set(xlabel="step", ylabel="cross-entropy of a word", title="Training", ylim=(0, None))
left.legend(fontsize=9)
bars = axis.barh(list(right), list(right.values()), color=["C0", "C1", "C2"])
axis.bar_label(bars, labels=[f"{share:.0%}" for share in right.values()], padding=3)
axis.axvline(1 / len(COLOURS), color="black", linestyle=":", label="chance")
axis.set(xlim=(0, 1.25), xlabel="words right, greedy search", title="New videos", yticks=[])
axis.legend(fontsize=9)
plt.show()

# %%
# Use it for real videos
# ----------------------
# One entry in a dict gives it a name. In a file of its own, ``mine.py``, this is a plugin:
#
# .. code-block:: sh
#
#     ./run fit --plugin mine.py --model.decoder attentive

DECODERS["attentive"] = DecoderSpec(
    build=lambda model, branch, shared: AttentiveDecoder(
        **{name: value for name, value in shared.items() if name != "dropout"}
    ),
    reads=lambda model, branch: {"frames": "decoder"},
    recurrent=False,
)
print(list(DECODERS))
