"""
Train a captioner, and caption
==============================

From nothing to captions in half a minute: make videos, train, look at the losses, caption videos that the model has
never seen. The way of working is that of a real data set; the captioner is a small one that learned for seconds.
"""

# %%
# Train
# -----
# ``fit`` makes 240 videos of the built-in world with their graphs, and trains on them. The captioner attends to the
# frames and to one vector for each track of an object (``branches: joint``, ``readout: tracks``); the graph says how
# tracks lie to each other. All settings are those of the command: ``./run fit --config stg_world`` is the same with
# 2,400 videos.
#
# A reporter hears what the command would print.

import json
import tempfile

import matplotlib.pyplot as plt

import stg
from stg.datasets import World
from stg.evaluation import load_run
from stg.runs import RunFolder

folder = tempfile.TemporaryDirectory()
world = {"train": 240, "val": 24, "test": 24}
run = stg.fit(
    world=world,
    graph={
        "variant": "spatial",
        "layers": 0,
        "conv": "typed",
        "box": "linear",
        "motion": True,
        "track_layers": 1,
        "track_geometry": "contact",
    },
    model={"branches": "joint", "readout": "tracks", "channels": 64, "heads": 4, "layers": 1, "hidden": 128},
    loss={"word_weight": 1.0},
    optim={"epochs": 8, "lr": 3e-3, "clip_norm": 5.0, "schedule": "cosine", "warmup": 0.5, "epoch_captions": 4},
    data={"store": f"{folder.name}/store"},
    run={"out": f"{folder.name}/run", "device": "cpu"},
)
print(sorted(path.name for path in run.iterdir()))

# %%
# What was learned when
# ---------------------
# The run folder holds a row for each step, and one for each validation. The same curves, with captions over time, are a
# page: ``./run report RUN``.

metrics = RunFolder(run).metrics
steps, checks = metrics.of_kind("step"), metrics.of_kind("validation")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.plot([row["step"] for row in steps], [row["loss"] for row in steps], linewidth=1)
left.set(xlabel="step", ylabel="loss", title="Training", ylim=(0, None))
right.plot([row["step"] for row in checks], [row["cider"] for row in checks], marker="o", color="C1")
right.set(xlabel="step", ylabel="CIDEr", title="24 validation videos, after each epoch", ylim=(0, None))

# %%
# Score it on new videos
# ----------------------
# ``evaluate`` captions a split, and writes captions and scores into the run. ``metrics`` leaves METEOR out, which needs
# Java.

scores = stg.evaluate(run, "test", metrics=("bleu", "cider"))
for search, found in scores.items():
    print(search, {name: round(value, 3) for name, value in found.values.items()})

# %%
# Captions
# --------
# Three test videos with what the model says and what is true. Colours come first; shapes and events take longer to
# learn.

written = next(found for found in RunFolder(run).evaluations if found.search == "greedy")
captions = {row["image_id"]: row["caption"] for row in json.loads(written.captions.read_text())}
videos = World(**world)
figure, axes = plt.subplots(3, 6, figsize=(8, 5.2))
figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.91, wspace=0.05, hspace=0.4)
for row, name in zip(axes, list(captions)[:3], strict=True):
    sample = videos.sample(name, num_frames=6)
    for axis, picture in zip(row, sample.frames, strict=True):
        axis.imshow(picture)
        axis.axis("off")
    row[0].set_title(f"model: {captions[name]}\ntruth: {videos.captions(name)[0]}", loc="left", fontsize=10)
plt.show()

# %%
# The same from a run
# -------------------
# ``load_run`` opens model, captions and graphs of a run. ``stg.load(run).caption("clip.mp4")`` captions a clip of the
# world as any file; this model reads objects at test time, and knows only those of the world.

opened = load_run(run, device="cpu")
print(len(opened.trained.vocabulary), "words:", " ".join(opened.trained.vocabulary.words[4:24]), "...")
weights = sum(weight.numel() for weight in opened.trained.captioner.parameters())
print(f"{weights:,} weights, {len(opened.store.keys())} graphs in the store")
opened.store.close()
folder.cleanup()
