"""From graph and features to a memory, and on to words."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.models.branches import SceneBranch
    from stg.models.build import build_captioner
    from stg.models.captioner import Branch, Captioner
    from stg.models.decoders import DECODERS, DecoderSpec
    from stg.models.generation import Caption, generate
    from stg.models.memory import MemoryBuilder
    from stg.models.onnx_export import OnnxCaptioner, export_onnx

__all__ = [
    "DECODERS",
    "Branch",
    "Caption",
    "Captioner",
    "DecoderSpec",
    "MemoryBuilder",
    "OnnxCaptioner",
    "SceneBranch",
    "build_captioner",
    "export_onnx",
    "generate",
]

__getattr__ = lazy_names(
    __name__,
    branches="SceneBranch",
    build="build_captioner",
    captioner="Branch Captioner",
    decoders="DECODERS DecoderSpec",
    generation="Caption generate",
    memory="MemoryBuilder",
    onnx_export="OnnxCaptioner export_onnx",
)
