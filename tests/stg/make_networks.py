"""Tiny ONNX networks with known answers, so that the tests run the real ONNX code without any weights."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
BOX = 16.0


def write_detector(path: Path) -> Path:
    """A "YOLOX" that sees blue: each 8x8 cell of a 64x64 input scores a 16x16 box at its centre with its blueness.

    Blueness is blue minus red, divided by 255, not below 0: black, grey and red have none. The
    cells of strides 16 and 32 never say anything; of the two classes the first is always the likelier.
    """
    cells = (SIDE // 8) ** 2
    rest = (SIDE // 16) ** 2 + (SIDE // 32) ** 2
    place = np.tile(np.array([0.5, 0.5, np.log(BOX / 8), np.log(BOX / 8)], np.float32), (1, cells, 1))
    constants = {
        "place": place,
        "classes": np.tile(np.array([1.0, 0.5], np.float32), (1, cells, 1)),
        "silent": np.zeros((1, rest, 7), np.float32),
        "full": np.array(255.0, np.float32),
        "column": np.array([1, cells, 1], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "third": np.array([2], np.int64),
        "end": np.array([3], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["images", "first", "second", "second"], ["blue"]),
        helper.make_node("Slice", ["images", "third", "end", "second"], ["red"]),
        helper.make_node("Sub", ["blue", "red"], ["difference"]),
        helper.make_node("Relu", ["difference"], ["blueness"]),
        helper.make_node("AveragePool", ["blueness"], ["mean"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Div", ["mean", "full"], ["share"]),
        helper.make_node("Reshape", ["share", "column"], ["score"]),
        helper.make_node("Concat", ["place", "score", "classes"], ["fine"], axis=2),
        helper.make_node("Concat", ["fine", "silent"], ["output"], axis=1),
    ]
    return _save(path, nodes, constants, [1, 3, SIDE, SIDE], ("output", [1, cells + rest, 7]))


def write_backbone(path: Path, sidecar: bool = True, **changes: object) -> Path:
    """A "network" whose map is the mean colour of each 16x16 patch of a 64x64 input, with its sidecar file."""
    nodes = [helper.make_node("AveragePool", ["images"], ["map"], kernel_shape=[16, 16], strides=[16, 16])]
    if sidecar:
        settings = {"name": "colours", "size": [SIDE, SIDE], "mean": [0, 0, 0], "std": [255, 255, 255], "stride": 16}
        path.with_suffix(".json").write_text(json.dumps(settings | {"output": "map"} | changes))
    return _save(path, nodes, {}, ["batch", 3, SIDE, SIDE], ("map", ["batch", 3, SIDE // 16, SIDE // 16]))


def write_endless(path: Path) -> Path:
    """A "network" that adds 1 to its map 2**62 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go_on"]), helper.make_node("Add", ["value", "one"], ["sum"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(np.array(1.0, np.float32), "one")],
    )
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Loop", ["turns", "always", "pooled"], ["map"], body=body),
    ]
    constants = {"turns": np.array(2**62, np.int64), "always": np.array(True)}
    map_shape = ["batch", 3, SIDE // 16, SIDE // 16]
    return _save(path, nodes, constants, ["batch", 3, SIDE, SIDE], ("map", map_shape))


def _save(path: Path, nodes: list, constants: dict[str, np.ndarray], shape: list, output: tuple[str, list]) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
