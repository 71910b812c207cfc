"""
Your own boxes
==============

You have boxes already: from a tracker, another detector, or an annotation. Then you need neither clips nor networks.
This page turns boxes into a graph, finds which of them are one object over time, and says the graph in words.
"""

# %%
# Boxes, frame by frame
# ---------------------
# A person walks to a table and lifts a cup. Eight frames, made here by hand. An item a frame is what torchvision and
# transformers give: a dict of boxes, labels and scores. Items of supervision and ultralytics do as well.

import json
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import graphs
from stg.pages import draw_edges

NAMES = {1: "person", 2: "table", 3: "cup"}
SIZE = (240, 320)  # height and width in pixels

frames = []
for time in range(8):
    walked = 30 * min(time, 4)
    lifted = 18 * max(time - 4, 0)
    person = [20 + walked, 50, 80 + walked, 220]
    cup = [190, 125 - lifted, 212, 150 - lifted]
    table = [160, 150, 300, 225]
    boxes = torch.tensor([person, table, cup], dtype=torch.float32)
    frames.append({"boxes": boxes, "labels": torch.tensor([1, 2, 3]), "scores": torch.tensor([0.98, 0.9, 0.8])})

# %%
# From boxes to a graph
# ---------------------
# There are no appearance vectors. So each object is described by its box, its score and its class: nine numbers, as
# there are four classes with class 0 for "not known".

features = graphs.VideoFeatures.from_detections(frames, size=SIZE, num_classes=4, video="kitchen", fps=2.0)
graph = graphs.build_graph(features)
print(graph)

# %%
# Which boxes are one object?
# ---------------------------
# ``LinkTracks`` joins boxes by overlap and likeness. ``TrackEdges`` adds an edge wherever a track goes on. Both are
# transforms of PyTorch Geometric, and go into ``Compose``.

graph = graphs.TrackEdges()(graphs.LinkTracks(min_iou=0.1, same_label=True)(graph))
print("tracks:", graph.track.tolist())

# %%
# The strongest edges between different objects, on empty frames, as there are no pictures here. Blue: in one frame;
# the person's box begins to overlap those of table and cup. Red: the track of the cup while it
# is lifted.


def show(picture):
    """A picture at its own size."""
    figure = plt.figure(figsize=(picture.width / 100, picture.height / 100), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(picture)
    axis.axis("off")


source, target = graph.edge_index
names = [NAMES[number] for number in graph.label.tolist()]
spatial = (graph.edge_type == graphs.EDGE_TYPES["spatial"]) & (source < target)
of_cup = (graph.edge_type == graphs.EDGE_TYPES["track"]) & (graph.label[target] == 3) & (source > target)
late = (graph.frame[target] >= 4) & (graph.frame[source] >= 4)
score = torch.where((spatial | of_cup) & late, graph.edge_weight, 0)
show(draw_edges(graph.boxes, graph.frame, graph.edge_index, score, size=SIZE, labels=names, top=30, columns=2))

# %%
# What the boxes say over time
# ----------------------------
# The tracks make it easy to read a motion off the graph. Here is the height of each object, and the distance between
# person and cup: enough to tell "walks to" from "lifts".

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
centre = (graph.boxes[:, :2] + graph.boxes[:, 2:]) / 2
for track in graph.track.unique().tolist():
    mine = graph.track == track
    name = NAMES[int(graph.label[mine][0])]
    left.plot(graph.frame[mine], SIZE[0] - centre[mine, 1], marker="o", label=name)
left.set(xlabel="frame", ylabel="height (pixels)", title="Height of each object", ylim=(0, SIZE[0]))
left.legend()
person, cup = centre[graph.label == 1], centre[graph.label == 3]
right.plot((person - cup).norm(dim=1), marker="o", color="black")
right.set(xlabel="frame", ylabel="pixels", title="From person to cup", ylim=(0, None))

# %%
# In words
# --------
# ``to_text`` writes the same for a reader of words, such as a language model.

for line in graphs.to_text(graph, names=NAMES, frames=3).splitlines():
    print(textwrap.fill(line, 96, subsequent_indent="    "))

# %%
# From a file
# -----------
# Boxes of many videos come in one plain file, which ``read_boxes`` reads; ``read_coco_vid``, ``read_mot`` and
# ``read_cad120`` read theirs. A wrong file is refused, with the place and the value:

entry = {"box": [190, 125, 150, 150], "class": "cup"}
video = {"width": 320, "height": 240, "frames": [[entry]]}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "boxes.json"
    path.write_text(json.dumps({"format": "video-boxes/1", "classes": ["cup"], "videos": {"kitchen": video}}))
    try:
        graphs.read_boxes(path)
    except ValueError as error:
        print(textwrap.fill(str(error).replace(f"{folder}/", ""), 96))

plt.show()
