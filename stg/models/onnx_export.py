"""A scene captioner as two ONNX networks, and the loop that runs them without PyTorch."""

import copy
import json
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn
from torch.export import Dim

from decoders import TransformerDecoder, VideoMemory, sinusoids
from stg.models.branches import SceneBranch, SceneFrames, SceneViews
from stg.models.captioner import Captioner
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import read_json
from stg.text.vocabulary import Vocabulary

MOST_FRAMES = 1024
"""Most frames of a video that an exported captioner takes: their positions are a table in its file."""
FORMAT = "stg-onnx-captioner"
Tensors = tuple[Tensor, ...]


def export_onnx(captioner: Captioner, vocabulary: Vocabulary, folder: str | Path) -> Path:
    """Write a captioner whose scene branch captions with the Transformer decoder, Pan's model, as ONNX.

    >>> bundle = CaptionerBundle.load("runs/msvd/model.safetensors")
    >>> folder = export_onnx(bundle.captioner, bundle.vocabulary, "msvd-onnx")
    >>> OnnxCaptioner(folder)(scene, mask)  # scene [B T S] float32, mask [B T] bool
    ['a man is playing a guitar', ...]

    Three files, for any number of videos, frames and words:

    - ``encoder.onnx``: ``scene [B T S]``, ``mask [B T]`` and, for a model with motion, ``motion [B T M]`` -> what the
      decoder remembers of the videos, before the first word;
    - ``step.onnx``: ``word [B]`` and what is remembered -> ``log_probs [B V]`` of the next word, and as ``new.NAME``
      what takes the place of ``NAME``. Inputs that the encoder does not give are about words: at first they are empty,
      with 0 in place of the open size (other than the first, the videos);
    - ``captioner.json``: words by number, the special ones, which are never written, and how long a caption may be.

    Features are raw: what standardises them is part of the encoder. They must be made as those of the training were.

    Args:
        captioner: left as it is.
        vocabulary: its words.
        folder: made if it is not there; files of an earlier export are replaced.

    Returns:
        The folder.

    Raises:
        UserError: the captioner reads more than frames and motion, or has another decoder; onnx or onnxscript is not
            installed.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise UserError(f"export to ONNX needs {' and '.join(missing)}: pip install onnx onnxscript")
    # A copy: exporting changes the mode and the table of positions.
    encoder = _Encoder(copy.deepcopy(captioner.for_captioning())).cpu().float().eval()
    step = _Step(encoder.decoder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Sizes of 1 and 0 would be taken for constants.
    first, second = (encoder.example(videos, frames) for videos, frames in ((3, 5), (2, 7)))
    with torch.no_grad():
        states = [encoder.state(*example) for example in (first, second)]
        begun = [step.example(state, words) for state, words in zip(states, (4, 3), strict=True)]
        step(*begun[0])  # which is when it knows what is new
        outputs = ["log_probs", *map("new.{}".format, step.new)]
        _export(encoder, folder / "encoder.onnx", (first, second), encoder.inputs, _full(states[0]))
        _export(step, folder / "step.onnx", (begun[0], begun[1]), ["word", *states[0]], outputs)
    # Last: without it the folder does not open.
    write_atomic(folder / "captioner.json", json.dumps(_record(encoder.decoder, vocabulary), ensure_ascii=False))
    return folder


def _record(decoder: TransformerDecoder, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": 1,
        "words": vocabulary.words,
        "pad": decoder.pad,
        "bos": decoder.bos,
        "eos": decoder.eos,
        "never": sorted({decoder.pad, decoder.bos, *decoder.suppressed}),
        "max_length": vocabulary.max_words + 1,
    }


class OnnxCaptioner:
    """Captions by greedy search with what `export_onnx` wrote: ONNX Runtime on the CPU, NumPy in, text out.

    Args:
        folder: of `export_onnx`.

    Raises:
        UserError: the folder holds no export, or onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / "captioner.json"
        record = read_json(path) if path.is_file() else {}
        if not isinstance(record, dict) or (record.get("format"), record.get("version")) != (FORMAT, 1):
            raise UserError(f"{folder} holds no captioner that export_onnx wrote (captioner.json): export it anew")
        self.record: dict[str, Any] = record
        self.encoder, self.step = (_session(Path(folder) / name) for name in ("encoder.onnx", "step.onnx"))

    def __call__(
        self,
        scene: Float32[np.ndarray, "B T S"],
        mask: Bool[np.ndarray, "B T"] | None = None,
        motion: Float32[np.ndarray, "B T M"] | None = None,
    ) -> list[str]:
        """The caption of each video.

        Args:
            scene: ``[B T S]`` frame features.
            mask: ``[B T]`` True where the frame is real; None: everywhere.
            motion: ``[B T M]`` the motion features at each frame, for a model that reads them.

        Raises:
            UserError: motion is missing or not expected, or an array has another width than the model reads.
        """
        words = self.record["words"]
        captions = []
        for row in self.words(scene, mask, motion).tolist():
            length = row.index(self.record["eos"]) if self.record["eos"] in row else len(row)
            captions.append(" ".join(words[number] for number in row[:length]))
        return captions

    def words(
        self,
        scene: Float32[np.ndarray, "B T S"],
        mask: Bool[np.ndarray, "B T"] | None = None,
        motion: Float32[np.ndarray, "B T M"] | None = None,
    ) -> Int64[np.ndarray, "B L"]:
        """The words of each caption by number, ``eos`` included, padded with ``pad``; arguments as for the captions."""
        given = {"scene": scene, "mask": np.ones(scene.shape[:2], bool) if mask is None else mask}
        given |= {} if motion is None else {"motion": motion}
        self._check(given)
        record, videos = self.record, len(scene)
        state = self._no_words(videos) | dict(zip(_names(self.encoder), self.encoder.run(None, given), strict=True))
        word = np.full(videos, record["bos"])
        written: list[np.ndarray] = []
        done = np.zeros(videos, bool)
        while len(written) < record["max_length"] and not done.all():
            log_probs, *new = self.step.run(None, {"word": word, **state})
            state |= dict(zip((name.removeprefix("new.") for name in _names(self.step)[1:]), new, strict=True))
            # A caption has a word at least, as in the library's own search.
            log_probs[:, record["never"] + [record["eos"]] * (not written)] = -np.inf
            # A video that is done steps along with the others, and writes nothing more.
            word = log_probs.argmax(1)
            written.append(np.where(done, record["pad"], word))
            done |= word == record["eos"]
        return np.stack(written, 1)

    def _no_words(self, videos: int) -> dict[str, np.ndarray]:
        """What is remembered of words before the first one: nothing, in arrays of the right shape."""
        known, empty = ["word", *_names(self.encoder)], {}
        for entry in self.step.get_inputs():
            if entry.name not in known:
                rest = [size if isinstance(size, int) else 0 for size in entry.shape[1:]]
                empty[entry.name] = np.zeros([videos, *rest], np.int64 if entry.type == "tensor(int64)" else np.float32)
        return empty

    def _check(self, given: dict[str, np.ndarray]) -> None:
        read = {entry.name: entry.shape[2:] for entry in self.encoder.get_inputs()}
        if given.keys() != read.keys():
            raise UserError(f"this captioner reads {', '.join(sorted(read))}; got {', '.join(sorted(given))}")
        for name, width in read.items():
            if list(given[name].shape[2:]) != list(width):
                raise UserError(f"{name} must have width {width[0]}; got an array of shape {list(given[name].shape)}")


class _Encoder(nn.Module):
    """From padded features to the state of the decoder before the first word."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        scene, decoder, parts = captioner.scene, captioner.scene_decoder, captioner.scene_parts
        if (
            not isinstance(decoder, TransformerDecoder)
            or not isinstance(scene, SceneBranch | SceneViews)
            or captioner.needs_objects
            or (parts is not None and parts.provides)
        ):
            raise UserError(
                "export to ONNX is for models whose scene branch captions with the Transformer decoder; this one has "
                f"{type(decoder or captioner.decoder).__name__} and reads {', '.join(sorted(captioner.reads))}"
            )
        self.scene, self.standardise = scene, captioner.standardise
        self.decoder = decoder
        self.inputs = ("scene", "mask", "motion") if "motion" in scene.requires else ("scene", "mask")
        # The longest video decides on the size of the table, not the longest caption.
        self.reader = copy.copy(decoder)
        self.reader._buffers = {"positions": sinusoids(MOST_FRAMES, decoder.channels).to(decoder.positions)}

    def state(self, scene: Tensor, mask: Tensor, motion: Tensor | None = None) -> dict[str, Tensor]:
        if self.standardise is not None:
            scene = self.standardise["scene"](scene) if "scene" in self.standardise else scene
            motion = self.standardise["motion"](motion) if "motion" in self.standardise else motion
        memory = VideoMemory(frame_mask=mask, **self.scene.views(SceneFrames(scene, motion, mask)))
        return self.reader.init_state(memory)

    def forward(self, scene: Tensor, mask: Tensor, motion: Tensor | None = None) -> tuple[Tensor, ...]:
        state = self.state(scene, mask, motion)
        return tuple(state[name] for name in _full(state))

    def example(self, videos: int, frames: int) -> tuple[Tensor, ...]:
        made = [torch.randn(videos, frames, self.scene.frames.in_features), torch.ones(videos, frames).bool()]
        if isinstance(self.scene.motion, nn.Linear):
            made.append(torch.randn(videos, frames, self.scene.motion.in_features))
        return tuple(made)


class _Step(nn.Module):
    """One word more: what is remembered goes in and out as a list of tensors."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.names: Sequence[str] = ()
        self.new: Sequence[str] = ()

    def forward(self, word: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, state, strict=True))
        log_probs, after = self.decoder.step(word, given)
        # What stays as it was, such as all that is known of the video, is not passed back.
        self.new = [name for name in self.names if after[name] is not given[name]]
        return log_probs, *(after[name] for name in self.new)

    def example(self, state: dict[str, Tensor], words: int) -> tuple[Tensor, ...]:
        self.names = list(state)
        word = torch.full((len(state["slots"]),), self.decoder.bos)
        for _ in range(words):
            _, state = self.decoder.step(word, state)
        return word, *state.values()


def _full(state: dict[str, Tensor]) -> list[str]:
    """The parts of a state that hold anything: ONNX Runtime refuses to compute what is empty."""
    return [name for name, value in state.items() if 0 not in value.shape]


def _export(
    module: nn.Module, path: Path, examples: tuple[Tensors, Tensors], inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    # Whatever differs between two examples may be of any size.
    free = [
        {axis: Dim.AUTO for axis in range(one.ndim) if one.shape[axis] != other.shape[axis]}
        for one, other in zip(*examples, strict=True)
    ]
    shapes: Any = (free[0], tuple(free[1:])) if isinstance(module, _Step) else tuple(free)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the exporter itself uses
        program = torch.onnx.export(
            module,
            examples[0],
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    assert program is not None  # with dynamo=True
    program.save(path)


def _names(session: Any) -> list[str]:
    return [entry.name for entry in session.get_outputs()]


def _session(path: Path) -> Any:
    try:
        from onnxruntime import InferenceSession
    except ImportError as error:
        raise UserError("OnnxCaptioner needs onnxruntime: pip install 'stg-video[onnx]'") from error
    return InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
