"""One clip from file to stored record, for a worker in another process."""

import json
import struct
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphs import encode_graph, flat_graph
from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.features.build import make_extractor
from stg.features.extractor import Extractor
from stg.features.ingestion import clip_row, with_motion
from stg.video.readers import Readers
from stg.vision.registry import execution_for, locate

_HEAD = struct.Struct("<Q")


class ClipToRecord:
    """Networks and a decoding process that turn one clip after the other into the records of a store.

    Args:
        networks, sampling, work: the options of ``stg.extract``. The caller sets torch's threads: they are its
            process's.
        features_dtype: how the store keeps features.
    """

    def __init__(
        self, networks: NetworkConfig, sampling: SamplingConfig, work: ExecutionConfig, features_dtype: str
    ) -> None:

        self.extractor: Extractor
        self.extractor, self.motion = make_extractor(
            networks, sampling, execution_for(work, sampling.num_frames), locate(networks, fetch=work.download)
        )
        request = replace(self.extractor.request(), identity=True)
        # A child even where the caller asked for none: what hangs or crashes must not take the worker with it.
        self.readers = Readers(request, 1, work.time_limit, int(work.memory_gb * 2**30))
        self.features_dtype = features_dtype

    def extract_one(self, video: str, path: Path) -> bytes:
        """The facts of the clip and its record, packed; see :func:`unpack`.

        Raises:
            VideoError: the clip cannot be used.
            ValueError: the networks gave numbers that a graph cannot hold.
        """

        with closing(self.readers.open({video: path})) as opened:  # type: ignore[type-var]
            _, parts = next(opened)
            clip = self.extractor.run_clip(parts)
        features = self.extractor(clip)
        graph = flat_graph(with_motion(features, video, clip.sample, self.motion))
        return pack(clip_row(video, features), encode_graph(graph, self.features_dtype))

    def close(self) -> None:
        """End the decoding process; it ends with its worker, too."""
        self.readers.close()


def pack(facts: dict[str, Any], record: bytes) -> bytes:
    """Both as one value."""
    head = json.dumps(facts).encode()
    return _HEAD.pack(len(head)) + head + record


def unpack(packed: bytes) -> tuple[dict[str, Any], bytes]:
    """What :func:`pack` packed."""
    end = _HEAD.size + _HEAD.unpack_from(packed)[0]
    return json.loads(packed[_HEAD.size : end]), packed[end:]
