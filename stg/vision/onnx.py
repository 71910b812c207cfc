"""ONNX networks on the CPU: opened at first use, named by the hash of their bytes."""

import os
import threading
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn.functional import interpolate

from stg.runtime.errors import StgError, UserError, first_line
from stg.vision.onnx_files import external_files
from stg.vision.weights import WeightFile, Weights

TIME_LIMIT = 600.0
"""Seconds that a network may take for one batch."""


class OnnxNetwork:
    """One ONNX file with one image input and one output.

    Such a file is a program: it may loop without end or ask for any memory. A loop is ended after ``time_limit``;
    memory, and the time of a single layer, are not limited. Use files whose source you trust.

    Args:
        path: the file; nothing is ever downloaded.
        threads: threads of one inference, 0 for all cores that this process may use.
        time_limit: seconds that one batch of images may take.

    Raises:
        UserError: the file is not there; at first use also: ``onnxruntime`` is not installed, not an ONNX network.
    """

    def __init__(self, path: Weights, threads: int = 0, time_limit: float = TIME_LIMIT) -> None:
        self.file = WeightFile.of(path)
        self.path = self.file.path
        self.threads, self.time_limit = threads, time_limit
        if not self.path.is_file():
            raise UserError(
                f"network {self.path} does not exist; pass the path of an ONNX file (nothing is downloaded)"
            )

    @property
    def sha256(self) -> str:
        """Hash of the file and of those that hold its weights, which is the identity of the network in a manifest."""
        return self.file.sha256

    @cached_property
    def session(self) -> Any:
        """The ``onnxruntime.InferenceSession``."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                "ONNX networks need onnxruntime, which is not installed: pip install 'stg-video[onnx]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or available_cores()
        # Layers follow one another in these networks: threads serve within a layer.
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # Weights in further files are found from the path; else bytes, as a name need not be UTF-8.
            network = os.fspath(self.path) if external_files(self.path) else self.path.read_bytes()
            session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except UserError:
            raise
        except Exception as error:  # onnxruntime's own errors share no base class below Exception
            raise UserError(
                f"{self.path} is not an ONNX network that onnxruntime can open: {first_line(error)}"
            ) from error
        if len(session.get_inputs()) != 1 or len(session.get_inputs()[0].shape) != 4:
            shapes = [item.shape for item in session.get_inputs()]
            raise UserError(f"{self.path} must have one image input [batch 3 height width]; it has {shapes}")
        return session

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width that the network insists on; None where it takes any."""
        height, width = self.session.get_inputs()[0].shape[2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def run(self, images: Float32[np.ndarray, "T 3 h w"], output: str | None = None) -> np.ndarray:
        """The output named ``output`` (by default the first) for all images, in batches of the size it asks for."""
        entry = self.session.get_inputs()[0]
        # Some exports fix the size of a batch.
        batch = entry.shape[0] if isinstance(entry.shape[0], int) else max(len(images), 1)
        names = [output or self.session.get_outputs()[0].name]
        try:
            parts = [
                self._run_batch(names, {entry.name: images[start : start + batch]})
                for start in range(0, len(images), batch)
            ]
        except StgError:
            raise
        except Exception as error:
            raise StgError(f"{self.path} failed on input {list(images.shape)}: {first_line(error)}") from error
        return np.concatenate(parts)

    def _run_batch(self, names: list[str], feed: dict[str, np.ndarray]) -> np.ndarray:
        from onnxruntime import RunOptions

        options, late = RunOptions(), threading.Event()
        options.log_severity_level = 4  # what goes wrong is an error here, and no line of a log

        def end() -> None:
            late.set()
            options.terminate = True

        timer = threading.Timer(self.time_limit, end)
        timer.daemon = True
        timer.start()
        try:
            return self.session.run(names, feed, options)[0]
        except Exception as error:
            if not late.is_set():
                raise
            raise StgError(
                f"{self.path} gave no result within {self.time_limit:g} s and was ended: an ONNX file is a program, "
                "which may loop without end; use one whose source you trust, or give a longer --time_limit"
            ) from error
        finally:
            timer.cancel()


def available_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resize(frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int, *, antialias: bool) -> np.ndarray:
    """Bilinear resize to ``[T 3 height width]`` float32, values 0 to 255, channel order kept.

    Without antialiasing it is what ``cv2.INTER_LINEAR`` does, up to its rounding. The bytes do not depend on the number
    of threads.
    """

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # torch divides rows over threads, and rounds otherwise at the seams
    try:
        resized = interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=antialias)
    finally:
        torch.set_num_threads(threads)
    return resized.numpy()
