"""
Rewards on a toy
================

Captions are learned word by word, and scored as a whole. Training on rewards closes that gap: the model draws captions,
each is scored, and those above a baseline become likelier (REINFORCE). This page does it in twenty lines on a toy, and
shows what is won and what is lost.
"""

# %%
# Twelve videos, five captions each
# ---------------------------------
# A video has a colour and a verb. Its five captions are worded differently, and one is careless: it names another
# colour. The memory of a video is two vectors, so that nothing is hard to see.

import itertools

import matplotlib.pyplot as plt
import torch

from decoders import AttentionLSTMDecoder, VideoMemory, greedy_search, policy_log_probs, sample_search
from stg.metrics import CiderD
from stg.text import Vocabulary

COLOURS, VERBS = ("red", "green", "blue"), ("falls", "rises", "spins", "jumps")
videos = list(itertools.product(COLOURS, VERBS))


def captions_of(colour, verb):
    wrong = COLOURS[(COLOURS.index(colour) + 1) % 3]
    return [
        f"a {colour} ball {verb}",
        f"a {colour} ball {verb} quickly",
        f"the {colour} ball {verb}",
        f"there is a {colour} ball and it {verb}",
        f"a {wrong} ball {verb}",
    ]


texts = [captions_of(*video) for video in videos]
vocabulary = Vocabulary.build(itertools.chain(*texts))
references = [[vocabulary.encode(text)[1:] for text in several] for several in texts]  # with eos, without bos

torch.manual_seed(0)
look = torch.randn(len(COLOURS) + len(VERBS), 32)
frames = torch.stack([torch.stack([look[COLOURS.index(c)], look[3 + VERBS.index(v)]]) for c, v in videos])
memory = VideoMemory(frames, torch.ones(len(videos), 2, dtype=torch.bool))
decoder = AttentionLSTMDecoder(
    len(vocabulary), channels=32, embedding=32, attention=32, memory="temporal", summary="mean", dropout=0.0
)
optimiser = torch.optim.Adam(decoder.parameters(), lr=5e-3)
cider = CiderD(references)


def step(loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def rewards_of(words, rows):
    """CIDEr-D of captions [N L], each against the references of its video."""
    return torch.from_numpy(cider([[w for w in row if w != decoder.pad] for row in words.tolist()], rows.tolist()))


# %%
# First: cross-entropy
# --------------------
# The decoder learns all five captions of each video. Afterwards it draws each of them in one of five cases, the
# careless one too: that is what likelihood asks for.

given = torch.nn.utils.rnn.pad_sequence(
    [torch.tensor(vocabulary.encode(text)) for several in texts for text in several], batch_first=True
)
row_of = torch.arange(len(videos)).repeat_interleave(5)
every = torch.arange(len(videos))
curve = []


def record():
    """The mean reward of drawn captions and of greedy ones."""
    with torch.no_grad():
        drawn = sample_search(decoder.eval(), memory, samples=10, max_length=12).words.flatten(0, 1)
        greedy = greedy_search(decoder, memory, max_length=12).words[:, 0]
    drawn_reward = rewards_of(drawn, every.repeat_interleave(10)).mean().item()
    curve.append((drawn_reward, rewards_of(greedy, every).mean().item()))


for number in range(150):
    if number % 10 == 0:
        record()
    logits = decoder.train()(given[:, :-1], memory, row_of)
    step(torch.nn.functional.cross_entropy(logits.flatten(0, 1), given[:, 1:].flatten(), ignore_index=decoder.pad))


def shares(video, draws=300):
    """How often each caption is drawn for a video."""
    words = sample_search(decoder.eval(), memory.select(torch.tensor([video])), samples=draws, max_length=12).words[0]
    counts = {}
    for row in words.tolist():
        text = vocabulary.decode(row)
        counts[text] = counts.get(text, 0) + 1 / draws
    return counts


before = shares(0)

# %%
# Then: rewards
# -------------
# Five captions are drawn of each video. The baseline of each is the mean reward of the other four. What is better than
# its baseline becomes likelier, what is worse less likely. ``stg.training.reward_losses`` does this for a whole
# captioner; ``./run fit --reward.weight 0.5`` mixes it with cross-entropy.

SAMPLES = 5
rows = every.repeat_interleave(SAMPLES)
for number in range(150):
    if number % 10 == 0:
        record()
    with torch.no_grad():
        drawn = sample_search(decoder.eval(), memory, samples=SAMPLES, max_length=12).words.flatten(0, 1)
    reward = rewards_of(drawn, rows).float().unflatten(0, (-1, SAMPLES))
    baseline = (reward.sum(1, keepdim=True) - reward) / (SAMPLES - 1)
    log_probs = policy_log_probs(decoder, drawn, memory, rows).sum(1)
    step(-((reward - baseline).flatten() * log_probs).mean() / 6)
record()
after = shares(0)

# %%
# What is won, what is lost
# -------------------------
# The reward of drawn captions rises at once, as they gather on the wording that is most like all others. The careless
# captions are gone. So is the variety: one caption is left where five were. Greedy captions win nothing here, as they
# were the best ones before.

figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
steps = [10 * number for number in range(len(curve))]
axis.plot(steps, [drawn for drawn, _ in curve], marker=".", label="drawn captions")
axis.plot(steps, [greedy for _, greedy in curve], marker=".", label="greedy captions")
axis.axvline(150, color="black", linestyle=":")
axis.text(75, 0.3, "cross-entropy", ha="center")
axis.text(225, 0.3, "rewards", ha="center")
axis.set(xlabel="step", ylabel="CIDEr-D", title="Mean reward", ylim=(0, None))
axis.legend(loc="center right")

names = sorted({*before, *after}, key=lambda text: before.get(text, 0))[-6:]
figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
place = torch.arange(len(names))
axis.barh(place + 0.2, [before.get(name, 0) for name in names], 0.38, label="after cross-entropy")
axis.barh(place - 0.2, [after.get(name, 0) for name in names], 0.38, label="after rewards")
axis.set_yticks(place, names)
axis.set(xlabel="share of drawn captions", xlim=(0, 1), title=f"What is said of '{' '.join(videos[0])}'")
axis.legend(loc="lower right")
plt.show()
