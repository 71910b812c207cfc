"""
Search and rerank
=================

A decoder gives the probability of the next word. A search turns that into captions, and a reranker may choose among
them. This page shows with a decoder of a few lines why the likeliest words do not make the likeliest caption, how the
searches differ, and what a second opinion on the candidates is worth.
"""

# %%
# A decoder that is a table
# -------------------------
# Any ``Decoder`` can be searched, also one without weights: here a table says which words follow which. "a" begins six
# captions in ten, yet what comes after it is open; "the" goes on in one way.

import matplotlib.pyplot as plt
import numpy as np
import torch

import decoders

WORDS = ("<pad>", "<bos>", "<eos>", "a", "the", "small", "large", "dark", "bright", "dog", "cat", "runs", "sleeps")
FOLLOWS = {
    "<bos>": {"a": 0.6, "the": 0.4},
    "a": {"small": 0.3, "large": 0.25, "dark": 0.25, "bright": 0.2},
    "the": {"dog": 0.95, "cat": 0.05},
    **{adjective: {"dog": 0.5, "cat": 0.5} for adjective in ("small", "large", "dark", "bright")},
    "dog": {"runs": 0.9, "sleeps": 0.1},
    "cat": {"runs": 0.2, "sleeps": 0.8},
    **{verb: {"<eos>": 1.0} for verb in ("runs", "sleeps")},
}


class TableDecoder(decoders.Decoder):
    """Logits of the next word from a table [V V], or one a video [B V V]."""

    def __init__(self, tables):
        super().__init__(len(WORDS), channels=len(WORDS))
        self.tables = tables
        self.output = torch.nn.Identity()

    def init_state(self, memory):
        return {"memory.tables": self.tables[memory.frames[:, 0, 0].long()]}

    def advance(self, word, state):
        tables = state["memory.tables"]
        return tables.repeat_interleave(len(word) // len(tables), 0)[torch.arange(len(word)), word], state

    def features(self, words, memory, video=None):
        rows = torch.arange(len(words)) if video is None else video
        return self.tables[memory.frames[rows, 0, 0].long()[:, None], words]


def table_of(follows):
    table = torch.full((len(WORDS), len(WORDS)), -20.0)
    for word, others in follows.items():
        for other, probability in others.items():
            table[WORDS.index(word), WORDS.index(other)] = np.log(probability)
    return table


def memory_of(count):
    """The memory of ``count`` videos: a frame that holds the number of the video."""
    frames = torch.arange(count, dtype=torch.float32)[:, None, None].expand(-1, 1, len(WORDS))
    return decoders.VideoMemory(frames.contiguous(), torch.ones(count, 1, dtype=torch.bool))


def text_of(row):
    return " ".join(WORDS[word] for word in row.tolist() if word > 2)


decoder, memory = TableDecoder(table_of(FOLLOWS)[None]).eval(), memory_of(1)

# %%
# Six searches
# ------------
# Greedy takes the likeliest word each time, and ends at a caption of probability .08. The beam keeps five beginnings,
# and finds one of .34. Diverse beams keep apart. Drawing gives each caption as often as it is likely. Least risk (MBR)
# draws captions, too, and takes the one most like all others.

draw = torch.Generator().manual_seed(0)
found = {
    "greedy": decoders.greedy_search(decoder, memory, max_length=6),
    "beam 5": decoders.beam_search(decoder, memory, beam=5, n_best=3, max_length=6),
    "diverse 6 x 3": decoders.diverse_beam_search(
        decoder, memory, beam=6, groups=3, diversity=1.0, n_best=3, max_length=6
    ),
    "sample": decoders.sample_search(decoder, memory, samples=3, max_length=6, generator=draw),
    "sample, T = 0.5": decoders.sample_search(
        decoder, memory, samples=3, temperature=0.5, max_length=6, generator=draw
    ),
    "mbr 40": decoders.mbr_search(decoder, memory, samples=40, max_length=6, generator=draw),
}
for name, captions in found.items():
    for row, log_prob in zip(captions.words[0], captions.log_probs[0].exp().tolist(), strict=True):
        print(f"{name:16} p = {log_prob:.3f}  {text_of(row)}")

# %%
# The tree of words, with the paths of two searches. The width of a branch is the probability of all that is on it.

figure, axis = plt.subplots(figsize=(8, 4.8), layout="constrained")


def draw_tree(word, prefix, probability, x, low, high):
    """One branch for each word that may follow, in the room from low to high."""
    options = {other: share for other, share in FOLLOWS.get(word, {}).items() if other != "<eos>"}
    y, top = (low + high) / 2, high
    for other, share in options.items():
        bottom = top - (high - low) / len(options)
        child, path = (bottom + top) / 2, (*prefix, other)
        colour = "0.75"
        for name, place in (("greedy", 0), ("beam 5", 0)):
            if tuple(text_of(found[name].words[0, place]).split())[: len(path)] == path:
                colour = {"greedy": "C1", "beam 5": "C0"}[name]
        axis.plot([x, x + 1], [y, child], color=colour, linewidth=1 + 14 * probability * share, solid_capstyle="round")
        shade, size = "black" if colour != "0.75" else "0.45", 10 if len(path) < 3 else 8
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axis.text(x + 1.03, child, other, fontsize=size, va="center", color=shade, bbox=box)
        draw_tree(other, path, probability * share, x + 1, bottom, top)
        top = bottom


draw_tree("<bos>", (), 1.0, 0, 0, 1)
axis.plot([], [], color="C1", linewidth=4, label="greedy: p = .08")
axis.plot([], [], color="C0", linewidth=4, label="beam 5: p = .34")
axis.set(xlim=(-0.1, 4.6), ylim=(-0.02, 1.02), title="Where searches go")
axis.axis("off")
axis.legend(loc="lower left")

# %%
# Rerank
# ------
# Now 400 videos. In each, a dog or a cat runs or sleeps, and a captioner sees that through noise. A second model, here
# another noisy look, says how well each candidate fits. The five best of the beam are reranked by the log-probability
# of a word plus ``mix`` times the fit.

random = np.random.default_rng(0)
COUNT, CAPTIONS = 400, [f"the {who} {what}" for who in ("dog", "cat") for what in ("runs", "sleeps")]
truth = random.integers(0, 2, (COUNT, 2))
seen = 1 / (1 + np.exp(-(2 * (1 - 2 * truth) + random.normal(0, 2.2, (COUNT, 2)))))
tables = []
for who, what in seen.clip(0.001, 0.999):
    verbs = {"runs": what, "sleeps": 1 - what}
    nouns = {"dog": who, "cat": 1 - who}
    tables.append(table_of({**FOLLOWS, "<bos>": {"the": 1.0}, "the": nouns, "dog": verbs, "cat": verbs}))
decoder, memory = TableDecoder(torch.stack(tables)).eval(), memory_of(COUNT)
beams = decoders.beam_search(decoder, memory, beam=5, n_best=4, max_length=6)

signs = np.array([[1 - 2 * ("cat" in text), 1 - 2 * ("sleeps" in text)] for text in CAPTIONS])
second = (1 - 2 * truth) + random.normal(0, 1.2, (COUNT, 2))  # the other look at the videos
mixes = np.linspace(0, 4, 21)
right = np.zeros(len(mixes))
for video in range(COUNT):
    texts = [text_of(row) for row in beams.words[video]]
    fit = np.array([signs[CAPTIONS.index(text)] @ second[video] for text in texts])
    for place, mix in enumerate(mixes):
        best = texts[int(np.argmax(beams.log_probs[video].numpy() + mix * fit))]
        right[place] += best == CAPTIONS[2 * truth[video, 0] + truth[video, 1]]
alone = np.mean([(np.sign(second[video]) == 1 - 2 * truth[video]).all() for video in range(COUNT)])

figure, axis = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
axis.plot(mixes, right / COUNT, marker=".", label="beam, reranked")
axis.axhline(right[0] / COUNT, color="C0", linestyle=":", label="captioner alone")
axis.axhline(alone, color="C1", linestyle=":", label="second model alone")
axis.set(xlabel="mix: weight of the second model", ylabel="captions right", title="Two noisy looks are better than one")
axis.legend()
plt.show()

# %%
# With real models
# ----------------
# The second model of Chen et al. (2019) is an embedding of videos and captions. These commands train one, and rerank
# the captions of two runs by it; choose ``--mix`` on validation.
#
# .. code-block:: sh
#
#     ./run embed --data.dataset msvd --data.root MSVD --data.store stores/msvd --out runs/embed
#     ./run fuse runs/temporal runs/spatial --embedding runs/embed --mix 1 --split val --out fused.json
