"""Networks whose weights lie in further files: what identifies them covers these, too."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stg.runtime.errors import UserError
from stg.vision.onnx import OnnxNetwork
from stg.vision.onnx_files import external_files
from stg.vision.weights import WeightFile
from tests.stg.make_networks import write_detector


def external(name: str, values: np.ndarray, location: str) -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = numpy_helper.from_array(values, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(values.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def shifted(path: Path, shift: float) -> Path:
    """A network that adds a number, which is in another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = ["n", 3, 2, 2]
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "shift"], ["sum"])],
        "shifted",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, shape)],
        [external("shift", np.zeros(1, np.float32), "net.data")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    (path.parent / "net.data").write_bytes(np.array([shift], np.float32).tobytes())
    return path


def test_weights_in_another_file_are_read_and_are_part_of_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shifted(tmp_path / "a" / "net.onnx", 1.0), shifted(tmp_path / "b" / "net.onnx", 2.0)
    assert one.read_bytes() == two.read_bytes()
    assert WeightFile(one).others == (one.parent / "net.data",)
    monkeypatch.chdir(two.parent)  # where onnxruntime would look for files of a network that is given as bytes
    images = np.zeros((1, 3, 2, 2), np.float32)
    assert OnnxNetwork(one).run(images).max() == 1.0
    assert OnnxNetwork(two).run(images).max() == 2.0
    assert OnnxNetwork(one).sha256 != OnnxNetwork(two).sha256
    copy = shutil.copytree(one.parent, tmp_path / "copy") / "other_name.onnx"
    (tmp_path / "copy" / "net.onnx").rename(copy)
    assert WeightFile(copy).sha256 == WeightFile(one).sha256
    before = WeightFile(one).sha256
    shifted(one, 3.0)
    assert WeightFile(one).sha256 != before


def test_a_network_in_one_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "net.onnx")
    assert external_files(path) == ()
    assert WeightFile(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("location", ["../net.data", "/etc/passwd", "a/../../x", "."])
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    path = shifted(tmp_path / "net.onnx", 1.0)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"net.onnx keeps weights in .*, which is outside of its own folder"):
        OnnxNetwork(path).sha256  # noqa: B018


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = shifted(tmp_path / "net.onnx", 1.0)
    (tmp_path / "net.data").unlink()
    with pytest.raises(UserError, match=r"net.onnx keeps weights in 'net.data', which is not there"):
        OnnxNetwork(path).session  # noqa: B018


def test_tensors_are_found_wherever_they_lie(tmp_path: Path) -> None:
    """In a constant of a branch of a function, say."""
    value = external("value", np.zeros(1, np.float32), "deep.data")
    constant = helper.make_node("Constant", [], ["x"], value=value)
    branch = helper.make_graph([constant], "branch", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function("own", "f", ["c"], ["y"], [node], [helper.make_opsetid("", 13)])
    graph = helper.make_graph([], "empty", [], [])
    model = helper.make_model(graph, functions=[function], doc_string="location")
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "deep.data").touch()
    assert external_files(path) == (tmp_path / "deep.data",)


def test_what_is_no_network_is_left_to_who_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content in (b"", b"location" + bytes(99), b"\x3a\xff\xff\xff\x7flocation", b"\x3b location"):
        path.write_bytes(content)
        assert len(WeightFile(path).sha256) == 64
        with pytest.raises(UserError, match="is not an ONNX network that onnxruntime can open"):
            OnnxNetwork(path).session  # noqa: B018
