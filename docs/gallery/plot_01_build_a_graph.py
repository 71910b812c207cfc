"""
Build a graph and look at it
============================

A video becomes a graph in two steps. A detector finds objects in some frames, and a network describes each by a vector.
Then edges join the objects: inside a frame, and from one frame to the next (Pan et al., 2020).

This page does both for one video of the built-in world. The world is made on the spot: nothing is downloaded.
"""

# %%
# The video
# ---------
# ``World`` makes short videos of coloured shapes, each with captions and one event. Ten frames stand for the video.

import matplotlib.pyplot as plt
import torch

from graphs import EDGE_TYPES, build_graph
from stg.datasets import World
from stg.features import Extractor
from stg.pages import draw_edges

world = World(train=1, val=1, test=10)
sample = world.sample("test-00002")
print(world.captions("test-00002")[0])

figure, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for number, (axis, picture) in enumerate(zip(axes.flat, sample.frames, strict=True)):
    axis.imshow(picture)
    axis.set_title(f"frame {number}", fontsize=10)
    axis.axis("off")

# %%
# The features
# ------------
# The extractor holds a detector and an image network. Both of the world are made by hand. For your own clips,
# ``stg.extract`` runs real ones.
#
# ``VideoFeatures`` has one row for each box that was found: its corners, its vector and its frame.

extract = Extractor(world.detector(), world.backbone())
features = extract(sample)
print(f"{features.num_objects} boxes in {features.num_frames} frames")
print("boxes  ", tuple(features.boxes.shape))
print("objects", tuple(features.objects.shape))
print("frame  ", features.frame.tolist())

# %%
# The graph
# ---------
# ``build_graph`` adds the edges. The result is a ``Data`` object of PyTorch Geometric: every layer, loader and
# transform of that library takes it.

graph = build_graph(features)
spatial = graph.edge_type == EDGE_TYPES["spatial"]
temporal = graph.edge_type == EDGE_TYPES["temporal"]
print(f"{graph.num_nodes} nodes, {int(spatial.sum())} spatial edges, {int(temporal.sum())} temporal edges")

# %%
# Look at the edges
# -----------------
# ``draw_edges`` draws the strongest edges on the frames, whatever gave the scores. Here the scores are the weights of
# the graph. First come the spatial edges of frames 4 and 6, one of the two directions of each pair. Two boxes that
# overlap weigh more than two that do not, but only a little more: look at the widths of the arrows. The detector is
# not perfect: in frame 6 it found a box around nothing, and overlooked the purple triangle.


def show(picture):
    """A picture at its own size."""
    figure = plt.figure(figsize=(picture.width / 100, picture.height / 100), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(picture)
    axis.axis("off")


source, target = graph.edge_index
seen = graph.frame[target]
shown = spatial & (source < target) & ((seen == 4) | (seen == 6))
score = torch.where(shown, graph.edge_weight, 0)
show(draw_edges(graph.boxes, graph.frame, graph.edge_index, score, pictures=sample.frames, top=40, columns=2))

# %%
# Now the temporal edges between two frames. Each box is compared with each box of the next frame. The strongest edge
# of a box mostly leads to the same object, yet the others are nearly as strong: a softmax over cosines is flat. Arrows
# point against time, as the paper's equation reads: a box gathers from the frame after it.

shown = temporal & (seen == 7)
score = torch.where(shown, graph.edge_weight, 0)
show(draw_edges(graph.boxes, graph.frame, graph.edge_index, score, pictures=sample.frames, top=20, columns=2))

# %%
# The same graph as a matrix
# --------------------------
# Row i shows from whom box i gathers, and with which weight. Squares on the diagonal are frames (spatial edges). The
# squares to their right are steps to the next frame (temporal edges). All else is empty: the graph is sparse.

matrix = torch.zeros(graph.num_nodes, graph.num_nodes)
matrix[target, source] = graph.edge_weight
ends = graph.frame.bincount(minlength=graph.num_frames).cumsum(0)

figure, axis = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
drawn = axis.imshow(matrix.masked_fill(matrix == 0, torch.nan), cmap="viridis", vmin=0)
for end in ends[:-1].tolist():
    axis.axhline(end - 0.5, color="0.8", linewidth=0.7)
    axis.axvline(end - 0.5, color="0.8", linewidth=0.7)
middle = (ends - graph.frame.bincount(minlength=graph.num_frames) / 2 - 0.5).tolist()
axis.set_xticks(middle, range(graph.num_frames))
axis.set_yticks(middle, range(graph.num_frames))
axis.set_xlabel("gathers from a box of frame ...")
axis.set_ylabel("box of frame ...")
axis.set_title("Weights of the edges (Pan et al., Eq. 1 to 3)")
figure.colorbar(drawn, label="weight")
plt.show()
