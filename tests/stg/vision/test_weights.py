"""Weights: found on this machine or named, fetched only on request, read without running what they hold."""

import pickle
import socket
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stg.runtime.errors import UserError
from stg.vision import published, weights
from stg.vision.published import PUBLISHED, UNPUBLISHED, Published
from stg.vision.weights import cache_folder, download, find_weights, fit_state_dict, frozen_network, load_state_dict


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def no_network(*_: Any, **__: Any) -> Any:
    raise AssertionError("a socket was opened")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bytes of a published file of a network ``tiny``."""
    data = b"weights" * 1000
    item = Published("TINY_V1", f"tiny-{sha256(data).hexdigest()[:8]}.pth", len(data) / 2**20)
    monkeypatch.setitem(PUBLISHED, "tiny", (item,))
    return data


# --- the table and the cache


def test_the_table_says_what_torchvision_says() -> None:
    from torchvision.models import get_model_weights

    for network, items in PUBLISHED.items():
        enumeration = get_model_weights(network)
        for item in items:
            there = enumeration[item.choice]
            assert (item.address, item.megabytes) == (there.url, there.meta["_file_size"]), item
            assert len(item.sha256_prefix) == 8
    for network in ("s3d", "raft_large", "raft_small", "maskrcnn_resnet50_fpn"):
        assert PUBLISHED[network][0].choice == get_model_weights(network).DEFAULT.name


@pytest.mark.parametrize(
    "names", [{}, {"XDG_CACHE_HOME": "/x"}, {"XDG_CACHE_HOME": "/x", "TORCH_HOME": "~/t"}, {"TORCH_HOME": "rel"}]
)
def test_the_cache_is_where_the_hub_has_it(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == torch.hub.get_dir() + "/checkpoints"


def test_missing_weights_are_named_without_a_socket(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    for network, items in PUBLISHED.items():
        for choice in (None, *(item.choice for item in items)):
            with pytest.raises(UserError, match=f"of {network} are not on this machine"):
                find_weights(network, choice)
    with pytest.raises(UserError) as caught:
        find_weights("resnet101")
    message = str(caught.value)
    for part in (
        "IMAGENET1K_V1",
        "resnet101-63fe2227.pth, 170.5 MB, sha256 63fe2227...",
        "https://download.pytorch.org/models/resnet101-63fe2227.pth",
        str(cache / "resnet101-63fe2227.pth"),
        "or give the path of a file",
    ):
        assert part in message
    assert "\n" not in message


def test_the_answer_comes_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom stg.vision.weights import find_weights\n"
        "try: find_weights('s3d')\nexcept Exception as error: print(error)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"TORCH_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        cwd=Path(weights.__file__).parents[2],
        check=True,
    )
    assert "s3d-d76dad2f.pth" in done.stdout
    assert done.stdout.endswith("False\n")


def test_a_file_and_the_cache_are_found(cache: Path, tmp_path: Path, tiny: bytes) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(b"x")
    assert find_weights("resnet101", str(own)).path == own
    assert find_weights("i3d_rgb", str(own)).path == own
    cached = cache / PUBLISHED["tiny"][0].file
    cached.write_bytes(tiny)
    assert find_weights("tiny").path == find_weights("tiny", "TINY_V1").path == cached


def test_a_damaged_or_forged_cache_is_refused(cache: Path, tiny: bytes) -> None:
    cached = cache / PUBLISHED["tiny"][0].file
    cached.write_bytes(tiny[:-1])
    for ask in (find_weights, download):
        with pytest.raises(UserError, match=rf"{cached} is damaged or another file: its sha256 is .*; delete it"):
            ask("tiny")
    with pytest.raises(UserError, match="is damaged or another file"):
        load_state_dict(cached, PUBLISHED["tiny"][0].sha256_prefix)


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_unpublished_networks_say_what_a_file_must_hold(name: str) -> None:
    for ask in (find_weights, download):
        with pytest.raises(UserError, match=rf"no weights of {name} are published .* file with the state dict of"):
            ask(name)
    with pytest.raises(UserError, match=r"'V1' is no file; give the path of a file with the state dict of"):
        find_weights(name, "V1")


def test_unknown_networks_and_choices_list_the_known() -> None:
    with pytest.raises(UserError, match=r"network must be one of resnet101, .*vggish; got 'resnet7'"):
        find_weights("resnet7")
    with pytest.raises(UserError, match=r"'IMAGENET1K_V3' is no file; give IMAGENET1K_V1, IMAGENET1K_V2, or the path"):
        find_weights("resnet101", "IMAGENET1K_V3")


# --- downloads


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A server on the loopback, which stands for the place of publication; what it sends is what the test puts in."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write((body or b"")[: 5000 if self.path.endswith("cut.pth") else None])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=partial(http.serve_forever, 0.01), daemon=True)
        thread.start()
        monkeypatch.setattr(published, "PLACE", f"http://127.0.0.1:{http.server_port}/")
        monkeypatch.setattr(urllib.request, "getproxies", dict)
        monkeypatch.setattr(urllib.request, "_opener", None)
        yield files
        http.shutdown()
        thread.join()


def test_a_download_lands_in_the_cache_and_is_not_repeated(cache: Path, tiny: bytes, server: dict[str, bytes]) -> None:
    item = PUBLISHED["tiny"][0]
    server["/" + item.file] = tiny
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f".{item.file[:40]}.0123abcd.tmp").touch()  # of a download that was killed
    assert download("tiny").path == cache / item.file == find_weights("tiny").path
    assert (cache / item.file).read_bytes() == tiny
    server.clear()
    assert download("tiny", "TINY_V1").path == cache / item.file
    assert [path.name for path in cache.iterdir()] == [item.file]


def test_what_a_server_sends_wrongly_is_not_kept(cache: Path, tiny: bytes, server: dict[str, bytes]) -> None:
    server["/" + PUBLISHED["tiny"][0].file] = tiny[:-7]
    with pytest.raises(UserError, match=r"sent 6993 bytes with sha256 .*cut short or another file; nothing was kept"):
        download("tiny")
    server.clear()
    with pytest.raises(UserError, match=r"could not download http://127.* to .*: HTTP Error 404"):
        download("tiny")
    assert not list(cache.iterdir())


def test_a_download_that_breaks_off_is_not_kept(
    cache: Path, tiny: bytes, server: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = Published("TINY_V1", f"{PUBLISHED['tiny'][0].file[:-4]}-cut.pth", 1.0)
    monkeypatch.setitem(PUBLISHED, "tiny", (item,))
    server["/" + item.file] = tiny
    with pytest.raises(UserError, match=r"could not download|sent 5000 bytes"):
        download("tiny")
    assert not list(cache.iterdir())


def test_without_a_network_a_download_fails_once(cache: Path, tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(*args: Any, **_: Any) -> Any:
        tries.append(args)
        raise urllib.request.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(UserError, match=r"could not download https://.*Name or service not known.*put it there"):
        download("tiny")
    assert len(tries) == 1
    monkeypatch.setenv("TORCH_HOME", str(cache / "file"))
    (cache / "file").touch()
    with pytest.raises(UserError, match=r"could not download .*Not a directory"):
        download("tiny")


# --- reading


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.Linear(width, 2))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module", "safetensors", "legacy", "both"])
def test_state_dicts_are_read_from_every_usual_wrapping(tmp_path: Path, wrap: str) -> None:
    state = dict(network().state_dict())
    path = tmp_path / ("w.safetensors" if wrap == "safetensors" else "w.pth")
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "module":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif wrap == "both":
        inner = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 3, "model": {"state_dict": inner}}, path)
    elif wrap in ("state_dict", "model"):
        torch.save({wrap: state, "epoch": 3, "name": "x"}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=wrap != "legacy")
    assert same(load_state_dict(path), state)
    assert same(load_state_dict(path, weights.sha256_file(path)[:8]), state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_never_runs(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    torch.save({"w": torch.zeros(1), "x": Payload(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"evil.pth holds Python objects besides tensors .*save model.state_dict\(\)"):
        load_state_dict(path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(UserError, match=r"plain.pth"):
        load_state_dict(tmp_path / "plain.pth")
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the payload is a real one


def test_a_dict_that_holds_itself_comes_to_an_end(tmp_path: Path) -> None:
    inside: dict[str, Any] = {"w": torch.zeros(1)}
    for key in ("state_dict", "model"):
        inside[key] = inside
        torch.save(inside, tmp_path / "loop.pth")
        with pytest.raises(
            UserError, match=r"loop.pth must hold a tensor under each name; '(state_dict|model)' is dict"
        ):
            load_state_dict(tmp_path / "loop.pth")
    wrapped = {"model": {"state_dict": {"model_state_dict": {"w": torch.ones(2)}}}}
    torch.save(wrapped, tmp_path / "deep.pth")
    assert load_state_dict(tmp_path / "deep.pth")["w"].tolist() == [1.0, 1.0]


def test_a_name_that_has_no_end_when_written_is_not_written(tmp_path: Path) -> None:
    bomb: Any = ("x", "x")
    for _ in range(18):  # more would take the unpickler, which hashes it, too long
        bomb = (bomb, bomb)
    torch.save({bomb: torch.zeros(1)}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match=r"; the key of type tuple is Tensor: save model.state_dict\(\) alone$"):
        load_state_dict(tmp_path / "bomb.pth")


def test_a_tensor_that_claims_more_numbers_than_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "wide.pth")
    with pytest.raises(UserError, match=r"wide.pth is damaged: 'w' has 1000000000000 numbers and holds fewer"):
        load_state_dict(tmp_path / "wide.pth")
    torch.save({"w": torch.zeros(4)[:2], "v": torch.zeros(3, 2).T}, tmp_path / "views.pth")
    assert load_state_dict(tmp_path / "views.pth")["v"].shape == (2, 3)


def test_a_whole_pickled_network_says_how_to_convert(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pth")
    with pytest.raises(
        UserError, match=r"besides tensors \(torch.nn.modules.container.Sequential\).*state_dict\(\) al"
    ):
        load_state_dict(tmp_path / "whole.pth")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good, path = tmp_path / "good.pth", tmp_path / "w.pth"
    torch.save(network().state_dict(), good)
    data = good.read_bytes()
    rubbish = np.random.default_rng(0).bytes(3000)
    for bad in (
        data[: len(data) // 2],
        data[:100],
        rubbish,
        b"<html>not found</html>",
        b"PK\x03\x04" + rubbish,
        b"\x80",
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"w.pth is damaged, cut short or no file of weights: "):
            load_state_dict(path)
    safe = tmp_path / "w.safetensors"
    save_file(dict(network().state_dict()), safe)
    for bad in (safe.read_bytes()[:-4], b"\xff" * 64, rubbish):
        safe.write_bytes(bad)
        with pytest.raises(UserError, match=r"w.safetensors is damaged or no safetensors file: "):
            load_state_dict(safe)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"w.pth is empty"):
        load_state_dict(path)
    with pytest.raises(UserError, match=r"none.pth does not exist"):
        load_state_dict(tmp_path / "none.pth")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchs_advice_to_let_code_run_is_never_passed_on(tmp_path: Path) -> None:
    pages, old, archive, program = (tmp_path / name for name in ("page.pth", "old.pth", "tar.pth", "program.pt"))
    pages.write_bytes(b"<html>" * 100)
    old.write_bytes(pickle.dumps({"w": 1}, protocol=4))
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), program)
    told = {}
    for path in (pages, old, archive, program):
        with pytest.raises(UserError) as caught:
            load_state_dict(path)
        told[path.name] = str(caught.value)
        for word in ("weights_only", "Re-running", "two options", "\n"):
            assert word not in told[path.name]
    assert told["page.pth"].endswith("no file of weights: Unsupported operand 60")
    assert told["old.pth"].endswith("no file of weights: Unsupported operand 149")
    assert "tensors alone cannot be read from files saved in the legacy .tar format" in told["tar.pth"]
    assert "is a TorchScript program, which is code and never loaded: " in told["program.pt"]


def test_a_zip_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**20)
    with pytest.raises(UserError, match=r"bomb.pth would unpack to 1048576 bytes"):
        load_state_dict(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], r"must hold a state dict; it holds list of 2"),
        ({}, r"must hold a state dict; it holds dict of 0"),
        (torch.zeros(2), r"must hold a state dict; it holds Tensor"),
        ({"a": torch.zeros(1), "lr": 0.5}, r"must hold a tensor under each name; 'lr' is float: save"),
        ({3: torch.zeros(1)}, r"must hold a tensor under each name; 3 is Tensor"),
    ],
)
def test_other_content_is_described(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=words):
        load_state_dict(tmp_path / "w.pth")


def test_a_published_name_promises_its_hash(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "resnet101-63fe2227.pth")
    with pytest.raises(UserError, match=r"expected 63fe2227"):
        load_state_dict(tmp_path / "resnet101-63fe2227.pth")


# --- fitting


def test_missing_extra_and_misshapen_tensors_are_listed() -> None:
    state = dict(network(4).state_dict())
    state["head.weight"] = state.pop("2.bias")
    with pytest.raises(UserError) as caught:
        fit_state_dict(network(), state, "w.pth")
    message = str(caught.value)
    assert (
        "w.pth is not of this network (Sequential): missing 1 (2.bias); extra 1 (head.weight); misshapen 7 (" in message
    )
    assert "0.bias [4] instead of [3]" in message
    assert message.endswith(", ...)")


def test_counters_do_not_matter_and_numbers_must_be_finite(tmp_path: Path) -> None:
    state = {key: value for key, value in network().state_dict().items() if not key.endswith("tracked")}
    module = network()
    fit_state_dict(module, {**state, "0.num_batches_tracked": torch.tensor(1)}, "w.pth")
    assert same({key: value for key, value in module.state_dict().items() if not key.endswith("tracked")}, state)
    state["0.weight"] = state["0.weight"].clone()
    state["0.weight"][0, 0] = torch.nan
    with pytest.raises(UserError, match=r"w.pth is damaged: 0.weight is not finite"):
        fit_state_dict(network(), state, "w.pth")


def test_a_frozen_network_cannot_be_trained_and_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "w.pth")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    module = frozen_network(lambda state: network(len(state["0.bias"])), tmp_path / "w.pth")
    assert torch.equal(torch.get_rng_state(), before)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert same(dict(module.state_dict()), load_state_dict(tmp_path / "w.pth"))
    with pytest.raises(UserError, match=r"device 'teapot' cannot be used: .*; take cpu or cuda"):
        frozen_network(lambda state: network(), tmp_path / "w.pth", "teapot")
