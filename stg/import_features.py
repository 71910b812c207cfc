"""Turn features that others have extracted into a store of object graphs.

DESCRIPTION is a JSON or YAML file that says what made the features, where they lie (a folder of .npy or .npz files, or
one HDF5 file), how wide they are, and which frames they belong to. Videos that are in the store already are not stored
again, but compared: STORE.sources.jsonl has the hash of what each video was made from, and features that have changed
since then are an error, or imported again with --refresh. Videos whose features cannot be used are listed in
STORE.skipped.jsonl with the reason.

An example of DESCRIPTION:

    {"name": "Faster R-CNN and ResNet-101", "version": "1", "num_frames": 10,
     "scene":   {"source": "scene", "width": 2048},
     "objects": {"source": "detections.h5", "key": "{video}/features", "width": 1024},
     "boxes":   {"source": "detections.h5", "key": "{video}/boxes"},
     "frame":   {"source": "detections.h5", "key": "{video}/frame"},
     "scores":  {"source": "detections.h5", "key": "{video}/scores"},
     "label":   {"source": "detections.h5", "key": "{video}/label"}}

Here scene/ID.npy is [K 2048], a row for each of K frames spread evenly over video ID, and detections.h5 holds for each
video the features [N 1024] of N objects, their boxes [N 4] (x1 y1 x2 y2 in pixels), the row of the scene that each is
in (frame [N], from 0, in order), their scores [N], and their labels [N] (numbers of COCO's categories, 0 where not
known). Objects, scores and labels may be left out; motion, grid and audio go the same way. With "backbone":
"hf:openai/clip-vit-base-patch32" (or another --backbone of stg.extract), the network that made the scene features, new
clips are captioned, too.
"""

from stg.commands.parser import command
from stg.config.extraction import ImportConfig


def main(config: ImportConfig) -> int:
    """The command."""
    from stg.commands.import_features import main as run

    return run(config)


if __name__ == "__main__":
    command("import_features", ImportConfig, main, __doc__ or "", resumes=True)
