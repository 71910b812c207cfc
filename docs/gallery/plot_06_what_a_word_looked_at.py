"""
What a word looked at
=====================

Which frames does a word come from? To see whether an answer is right, one must know the truth. So this page makes
videos of a wall that changes its colour at some moment: "a red wall turns blue". *Red* can only come from the frames
before, and *blue* only from those after.
"""

# %%
# Videos
# ------
# Twelve frames each. A frame is described by the colours of nine cells of the picture, and by its time. There are no
# objects: a captioner may read frames alone.

import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import stg
from graphs import GraphStore, VideoFeatures, flat_graph
from stg.config import SearchConfig
from stg.data import BatchSource
from stg.datasets import DATASETS, CaptionDataset, OpenDataset
from stg.evaluation import load_run
from stg.explain import DeletionTests, ExplainedModel, explain
from stg.models import generate

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210), "white": (235, 235, 235)}
FRAMES = 12


def made_video(number):
    """The two colours of a video, its turn (the first frame of the second colour), and its pictures [T H W 3]."""
    random = np.random.default_rng(number)
    first, second = random.choice(list(COLOURS), 2, replace=False)
    turn = int(random.integers(3, FRAMES - 2))
    walls = np.where(np.arange(FRAMES)[:, None] < turn, COLOURS[first], COLOURS[second])
    light = 1 + 0.3 * np.linspace(-1, 1, 48)[:, None] * random.uniform(-1, 1)
    pictures = walls[:, None, None] * light[None, :, None, :] + random.normal(0, 12, (FRAMES, 48, 48, 3))
    return str(first), str(second), turn, pictures.clip(0, 255).astype(np.uint8)


def features_of(name, pictures):
    cells = pictures.reshape(FRAMES, 3, 16, 3, 16, 3).mean((2, 4)).reshape(FRAMES, 27) / 255
    scene = np.concatenate([cells, np.linspace(0, 1, FRAMES)[:, None]], 1)
    nothing = np.zeros((0, 4))
    return VideoFeatures.from_numpy(nothing, nothing, np.zeros(0, int), FRAMES, scene=scene, video=name)


# %%
# A data set of one's own
# -----------------------
# An opener returns captions, splits and a store. Its entry in ``DATASETS`` gives it a name for ``--data.dataset``; in a
# file of its own this is a plugin.

SPLITS = {"train": range(240), "val": range(240, 264), "test": range(264, 324)}


def open_walls(data, world, opening):
    splits = {split: [f"wall-{number}" for number in numbers] for split, numbers in SPLITS.items()}
    made = {f"wall-{number}": made_video(number) for numbers in SPLITS.values() for number in numbers}
    captions = {name: [f"a {a} wall turns {b}", f"the wall was {a} and is {b}"] for name, (a, b, _, _) in made.items()}
    if not Path(data.store).exists():
        with GraphStore(data.store, "a") as store:
            store.put_many((name, flat_graph(features_of(name, video[3]))) for name, video in made.items())
    return OpenDataset(CaptionDataset("walls", captions, splits), GraphStore(data.store))


DATASETS["walls"] = open_walls

# %%
# A captioner that attends to frames
# ----------------------------------
# The LSTM of Chen et al. (2019) weighs the frames anew for each word.

folder = tempfile.TemporaryDirectory()
path = stg.fit(
    data={"dataset": "walls", "store": f"{folder.name}/store"},
    model={"branches": "scene", "decoder": "attention_lstm", "channels": 48, "dropout": 0.0},
    optim={"epochs": 8, "lr": 5e-3, "captions_per_video": 2},
    run={"out": f"{folder.name}/run", "device": "cpu"},
)
run = load_run(path, device="cpu")
source = BatchSource(run.store, run.trained.graph.variant, run.trained.graph.time_flow)
videos = run.dataset.splits["test"]
captions = generate(run.trained.captioner, source, videos, run.trained.vocabulary, search=SearchConfig(method="greedy"))
print(videos[0], captions[videos[0]][0].text)

# %%
# What each word attends to
# -------------------------
# ``explain`` returns attributions: rows are words. Attention is what was read. The second one is a gradient: which
# frames raised the probability of the word, to first order. Each comes with a note on what it does not say.

model, tests = ExplainedModel(run.trained), DeletionTests()
found = {name: explain(model, source.batch([name]), captions[name][0], tests=tests) for name in videos}
for one in found[videos[0]].attributions:
    print(textwrap.fill(f"{one.title}: {one.note}", 96, subsequent_indent="    "))

# %%
# The dashed line is the moment of change. Attention reads the first colour before it, and the second after it. It need
# not find the change itself: the first and the last frames are enough. The gradient is a weaker witness: of a word it
# may point to frames that cannot hold it.

name = videos[0]
first, second, turn, pictures = made_video(int(name.split("-")[1]))
explanation = found[name]
shown = [one for one in explanation.attributions if one.frames is not None and not one.whole]
figure, axes = plt.subplots(
    1 + len(shown), 1, figsize=(7.5, 1.1 + 2.3 * len(shown)), layout="constrained", height_ratios=[1] + [3] * len(shown)
)
axes[0].imshow(np.concatenate([np.pad(p, ((0, 0), (1, 1), (0, 0)), constant_values=255) for p in pictures], 1))
axes[0].axis("off")
axes[0].set_title(f"{name}: {captions[name][0].text}", fontsize=11)
for axis, one in zip(axes[1:], shown, strict=True):
    drawn = axis.imshow(one.frames, aspect="auto", cmap="Blues", vmin=0)
    axis.axvline(turn - 0.5, color="black", linestyle="--")
    axis.set_yticks(range(len(explanation.words)), explanation.words)
    axis.set_xticks(range(FRAMES))
    axis.set_title(one.title, fontsize=10)
    figure.colorbar(drawn, label="share of the word")
axes[-1].set_xlabel("frame")

# %%
# Is that so for all videos?
# --------------------------
# For each word of the caption: how much of its attention lies before the change, over all test videos that are
# captioned right in these words. Frames before the change are about half of all frames.

share = {}
for name in videos:
    first, second, turn, _ = made_video(int(name.split("-")[1]))
    if captions[name][0].text == f"a {first} wall turns {second}":
        before = found[name].attributions[0].frames[:, :turn].sum(1)
        for word, value in zip(("a", "FIRST", "wall", "turns", "SECOND"), before, strict=False):
            share.setdefault(word, []).append(float(value))
right = sum(captions[name][0].text in run.dataset.captions[name] for name in videos)
print(f"{right} of {len(videos)} captions are right")

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
words = [word for word in ("a", "FIRST", "wall", "turns", "SECOND") if word in share]
axis.boxplot([share[word] for word in words])
axis.set_xticks(range(1, len(words) + 1), words)
axis.axhline(0.5, color="black", linestyle=":")
axis.set(ylabel="attention before the change", ylim=(-0.05, 1.05), title="'a FIRST wall turns SECOND'")
plt.show()

# %%
# Does attention matter?
# ----------------------
# Attention alone proves nothing. So the frames that a word attended to most are hidden: its log-probability should fall
# more than with as many random frames hidden. It does, though not by much, as other frames show the same colour.

for test in tests.results():
    print(
        f"{test.title}: hiding {test.count} {test.hides} costs {test.attended:.2f}, "
        f"at random {np.mean(test.random):.2f} ({test.words} words)"
    )
run.store.close()
folder.cleanup()
