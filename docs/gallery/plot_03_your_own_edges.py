"""
Your own edges
==============

An edge variant is a function. It takes a batch of graphs and returns edges. It sees boxes, frames and features, so one
store of graphs serves any number of variants. This page writes a variant, draws it beside the paper's edges, and
trains a captioner on it.
"""

# %%
# The function
# ------------
# Two boxes of a frame are joined if the gap between their borders is small: at most a twentieth of the picture. The
# nearer they are, the more the edge weighs.
#
# Three things are returned: ``edge_index [2 E]`` with source and target, ``edge_weight [E]`` and ``edge_type [E]``. A
# kind of one's own has a number of its own in ``EDGE_TYPES``.
#
# The function stands in a file. Commands import it with ``--plugin touching.py``; Python as below.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import graphs
import stg
from stg.datasets import World
from stg.features import Extractor
from stg.pages import draw_edges

PLUGIN = '''
"""Edges between boxes of a frame that touch, or nearly so."""

import torch

import graphs


def touching(batch):
    (source, target), _ = graphs.spatial_edges(batch.boxes, batch.frame, batch.batch)  # all pairs of each frame
    a, b = batch.boxes[source], batch.boxes[target]
    gap = (torch.maximum(a[:, :2], b[:, :2]) - torch.minimum(a[:, 2:], b[:, 2:])).clamp(min=0).norm(dim=1)
    limit = 0.05 * batch["size"][batch.batch[source]].amax(1)
    near = (source != target) & (gap <= limit)
    weight = 1 - 0.5 * gap / limit
    return torch.stack([source, target])[:, near], weight[near], torch.full_like(source, 2)[near]


graphs.EDGE_TYPES["touching"] = 2
graphs.VARIANTS["touching"] = touching
'''

folder = tempfile.TemporaryDirectory()
plugin = Path(folder.name) / "touching.py"
plugin.write_text(PLUGIN)

# %%
# A captioner that learns on these edges
# --------------------------------------
# ``fit`` imports the plugin, and the run remembers it. Two epochs on 48 videos are no training: they show that all of
# it fits together. On the command line:
#
# .. code-block:: sh
#
#     ./run fit --plugin touching.py --graph.variant touching

run = stg.fit(
    plugin=plugin,
    graph={"variant": "touching", "layers": 1},
    model={"channels": 32, "heads": 4, "layers": 1, "hidden": 64},
    world={"train": 48, "val": 8, "test": 8},
    optim={"epochs": 2, "epoch_captions": 2},
    data={"store": f"{folder.name}/store"},
    run={"out": f"{folder.name}/run", "device": "cpu"},
)
print(sorted(path.name for path in run.iterdir()))

# %%
# Side by side
# ------------
# The variant now has a name, and ``SelectVariant`` puts it in the place of a graph's edges. A diamond jumps over
# a triangle. First the spatial edges of the paper, one direction of each pair, then our own: what was said by small
# differences of weights is now said by whether there is an edge.

world = World(train=1, val=1, test=240, events=("jumps over", "moves towards", "moves away from", "collides with"))
extract = Extractor(world.detector(), world.backbone())


def show(picture, title):
    """A picture at its own size, below a title."""
    figure = plt.figure(figsize=(picture.width / 100, picture.height / 100 + 0.35), dpi=100)
    figure.suptitle(title, fontsize=11, y=0.99)
    axis = figure.add_axes((0, 0, 1, picture.height / (picture.height + 35)))
    axis.imshow(picture)
    axis.axis("off")


video = next(name for name in world.dataset().splits["test"] if world.event(name).verb == "jumps over")
sample = world.sample(video)
graph = graphs.build_graph(extract(sample))
for variant in ("spatial", "touching"):
    chosen = graphs.SelectVariant(variant)(graph.clone())
    source, target = chosen.edge_index
    kept = (source < target) & ((chosen.frame[target] == 3) | (chosen.frame[target] == 6))
    score = torch.where(kept, chosen.edge_weight, 0)
    picture = draw_edges(
        chosen.boxes, chosen.frame, chosen.edge_index, score, pictures=sample.frames, top=60, columns=2
    )
    show(picture, f"{world.captions(video)[0]}: variant {variant!r}")

# %%
# What do the edges say of an event?
# ----------------------------------
# Count the edges of each frame, over many videos of three events. Their number tells the events apart: things that
# come near have edges late, things that part have them early.

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for verb in ("moves towards", "moves away from", "collides with"):
    counts = []
    for name in world.dataset().splits["test"]:
        if world.event(name).verb == verb:
            chosen = graphs.SelectVariant("touching")(graphs.build_graph(extract(world.sample(name))))
            counts.append(torch.bincount(chosen.frame[chosen.edge_index[1]], minlength=10).numpy() / 2)
    mean, error = np.mean(counts, 0), np.std(counts, 0) / np.sqrt(len(counts))
    axis.plot(mean, marker="o", label=f"{verb} ({len(counts)} videos)")
    axis.fill_between(range(10), mean - error, mean + error, alpha=0.2)
axis.set(
    xlabel="frame", ylabel="pairs of boxes that touch", title="Edges over time (band: standard error)", ylim=(0, 1.9)
)
axis.legend(loc="upper center")
plt.show()

folder.cleanup()
