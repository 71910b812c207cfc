"""
A store of 5,000 graphs
=======================

Graphs that are too many for a list go into a store: one file, read at random, by any number of processes. This page
writes 5,000 graphs of made boxes, reads them with a loader of PyTorch Geometric, and measures how long a batch takes as
the store grows.
"""

# %%
# Make graphs
# -----------
# A graph has ten frames of four boxes that drift, with vectors of width 64. ``y`` is its label: whether the first box
# goes right. ``flat_graph`` makes the same graph as ``build_graph``, without the objects of PyG, which is faster.
#
# To be quick, 500 videos are made, each seen by ten cameras that stand further left or right. Edges depend on overlap
# and looks alone, so they are the same for all ten, and only boxes are moved.

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch_geometric.loader import DataLoader

import graphs

FRAMES, OBJECTS, WIDTH = 10, 4, 64


CAMERAS = 10


def made_graphs(number):
    """The graphs of made video ``number``, one a camera, with their names."""
    random = np.random.default_rng(number)
    start, speed = random.uniform(50, 200, (OBJECTS, 2)), random.normal(0, 4, (OBJECTS, 2))
    centre = (start + np.arange(FRAMES)[:, None, None] * speed).reshape(-1, 2)
    look = np.tile(random.normal(size=(OBJECTS, WIDTH)), (FRAMES, 1))
    features = graphs.VideoFeatures.from_numpy(
        boxes=np.concatenate([centre - 20, centre + 20], 1),
        objects=look + 0.1 * random.normal(size=look.shape),
        frame=np.repeat(np.arange(FRAMES), OBJECTS),
        num_frames=FRAMES,
        size=(256, 256),
        track=np.tile(np.arange(OBJECTS), FRAMES),
    )
    graph = graphs.flat_graph(features)
    graph.y = torch.tensor([int(speed[0, 0] > 0)])
    graph.speed = torch.tensor(np.tile(speed, (FRAMES, 1)), dtype=torch.float32)
    for camera in range(CAMERAS):
        seen, name = graph.clone(), f"made-{number:03d}-{camera}"
        seen["video"] = name
        seen.boxes = graph.boxes + torch.tensor([10.0, 0.0, 10.0, 0.0]) * camera
        yield name, seen


# %%
# Write them
# ----------
# The store knows the fields of a graph, and ``y``. Others are declared: ``speed`` has a row for each node. Each record
# has a checksum, and nothing is pickled. A writer that is killed loses its last transaction at most.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "made.lmdb"


def batch_time(store, random):
    """Median milliseconds of CPU time to read 32 graphs, drawn at random, into one batch."""
    keys, times = store.keys(), []
    for _ in range(15):
        chosen = list(random.choice(keys, 32, replace=False))
        store.batch(chosen)  # the first time that a record is read, it is also checked
        start = time.process_time()
        store.batch(chosen)
        times.append(1e3 * (time.process_time() - start))
    return float(np.median(times))


sizes, read_times, megabytes, written = [250, 500, 1000, 2000, 3500, 5000], [], [], 0
for size in sizes:
    with graphs.GraphStore(path, "a", free={"speed": graphs.FreeField("node")}) as store:
        for number in range(written // CAMERAS, size // CAMERAS):
            store.put_many(made_graphs(number))
    written = size
    with graphs.GraphStore(path) as store:
        read_times.append(batch_time(store, np.random.default_rng(size)))
        megabytes.append(sum(store.sizes()) / 1e6)
print(f"{written} graphs, {megabytes[-1]:.0f} MB, {1e3 * megabytes[-1] / written:.1f} KB a graph")

# %%
# A batch from a large store costs what one from a small store costs, and the file grows in proportion.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.plot(sizes, read_times, marker="o")
left.set(xlabel="graphs in the store", ylabel="milliseconds of CPU", title="A batch of 32, drawn at random")
left.set_ylim(0, 2 * max(read_times))
right.plot(sizes, megabytes, marker="o", color="C1")
right.set(xlabel="graphs in the store", ylabel="MB", title="Records", ylim=(0, None))
plt.show()

# %%
# Read them
# ---------
# ``VideoGraphDataset`` is a data set of PyTorch Geometric. ``videos=`` takes a split (here the videos 0 to 399), and
# ``transform=`` one of the edge variants: one store serves all. Workers open the file themselves (``num_workers=2``).

with graphs.GraphStore(path) as store:
    keys = store.keys()
train = graphs.VideoGraphDataset(path, videos=keys[:4000], transform=graphs.SelectVariant("spatial"))
loader = DataLoader(train, batch_size=64, shuffle=True)
batch = next(iter(loader))
print(batch)
print("labels:", batch.y.bincount().tolist(), " classes:", train[:100].num_classes)

# %%
# Look at what came back
# ----------------------
# Ways of the first boxes of one batch, by label: the fields of a node stay together, whatever the batch.

figure, axis = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
first = batch.track == 0
centre = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
for number in range(batch.num_graphs):
    way = centre[first & (batch.batch == number)]
    goes_right = bool(batch.y[number])
    axis.plot(*way.T, color="C0" if goes_right else "C3", linewidth=1)
    axis.plot(*way[-1], marker=">" if goes_right else "<", color="C0" if goes_right else "C3", markersize=5)
axis.set(xlabel="x (pixels)", ylabel="y (pixels)", title="First object of 64 graphs (blue: y = 1, it goes right)")
axis.invert_yaxis()
plt.show()

# %%
# Is all of it there and undamaged? ``./run store verify made.lmdb`` asks that on the command line.

with graphs.GraphStore(path) as store:
    print("damaged:", store.verify())
train.close()
folder.cleanup()
