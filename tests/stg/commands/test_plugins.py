"""A decoder, edges and a data set of one's own, added by the files in ``tests/plugins``: Python and commands."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import graphs
import stg
from decoders import SEARCHES
from graphs import GraphStore, StoreError
from stg.ablation.ablate import ablate
from stg.ablation.config import AblateConfig
from stg.commands.report import report_run, report_videos
from stg.config import plugins
from stg.config.data import DataConfig
from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.plugins import load_plugin
from stg.config.report import ReportConfig
from stg.config.schema import from_dict
from stg.config.training import OptimConfig, RunConfig
from stg.datasets.open import DATASETS
from stg.explain import EXPLAINERS
from stg.features.log import ExtractionLog
from stg.features.ray import ingest_with_ray, ray_worker
from stg.features.ray_job import RayRow
from stg.models.decoders import DECODERS
from stg.runtime.errors import Preempted, UserError
from stg.runtime.reporter import SILENT, Reporter
from stg.training.schedules import OPTIMISERS
from stg.vision.registry import BACKBONES, DETECTORS, MOTION, SOUND
from tests.stg.make_clips import write_clip
from tests.stg.make_networks import write_backbone, write_detector
from tests.stg.plug_in import EXAMPLES, command, fresh_process, plugin_of

SPLITS = ("train", "train", "train", "train", "val", "val", "test", "test")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with several blue squares, captions, tiny networks, and the store that these made of the clips."""
    folder = tmp_path_factory.mktemp("bench")
    for name in ("clips", "weights", "captions"):
        (folder / name).mkdir()
    rows = ["video,caption,split"]
    for number, split in enumerate(SPLITS):
        colours = np.random.default_rng(number).integers(0, 120, (12, 2, 2, 3), np.uint8)
        colours[..., 2] += 120  # the detector sees blue
        frames = colours.repeat(32, axis=1).repeat(32, axis=2)
        write_clip(folder / f"clips/v{number}.mp4", list(frames), options={"crf": "0"}, pixels="yuv444p")
        rows += [f"v{number},a {word} square moves,{split}" for word in ("blue", "dark")]
    (folder / "captions/captions.csv").write_text("\n".join(rows) + "\n")
    detector, backbone = write_detector(folder / "weights/eye.onnx"), write_backbone(folder / "weights/net.onnx")
    made = stg.extract(
        folder / "clips",
        folder / "store",
        networks=NetworkConfig(detector=str(detector), backbone=str(backbone)),
        sampling=SamplingConfig(num_frames=4),
        execution=ExecutionConfig(threads=1, workers=0),
    )
    assert len(made.done) == len(SPLITS)
    return folder


SECTIONS: dict[str, Any] = {"data": DataConfig, "model": ModelConfig, "graph": GraphConfig, "optim": OptimConfig}


class Example(NamedTuple):
    """A plugin, and the settings of a run that uses it."""

    plugin: Path
    sections: Mapping[str, Mapping[str, Any]]

    def config(self, out: Path) -> dict[str, Any]:
        return {**self.sections, "run": {"out": str(out), "samples": 0, "device": "cpu"}}

    def row(self) -> dict[str, str]:
        """The one row of an ablation with it."""
        if "graph" in self.sections:
            return {"variants": self.sections["graph"]["variant"]}
        return {"decoders": self.sections["model"].get("decoder", "transformer")}

    def options(self) -> list[str]:
        """The same for a command."""
        return [f"--{part}.{key}={value}" for part, values in self.sections.items() for key, value in values.items()]


@pytest.fixture(scope="module")
def example(bench: Path) -> Callable[[str], Example]:
    """An example by its name."""
    small = {"channels": 8, "heads": 2, "hidden": 8, "layers": 1, "branches": "scene"}
    optim = {"epochs": 1, "batch_videos": 3}
    own = {"dataset": "folder", "root": str(bench / "captions"), "store": str(bench / "store"), "min_count": 1}
    walls = {"dataset": "walls", "store": str(bench / "walls"), "min_count": 1}
    sections: dict[str, dict[str, dict[str, Any]]] = {
        "my_decoder": {"data": own, "model": small | {"decoder": "gru"}, "optim": optim},
        "close_edges": {
            "data": own, "model": small | {"branches": "object"}, "graph": {"variant": "close"}, "optim": optim,
        },
        "my_dataset": {"data": walls, "model": small, "optim": optim},
    }  # fmt: skip
    return lambda name: Example(EXAMPLES / f"{name}.py", sections[name])


@pytest.fixture(scope="module")
def trained(bench: Path, example: Callable[[str], Example]) -> Callable[[str], Path]:
    """The run of an example, trained by the command once."""

    def fit(name: str) -> Path:
        one, out = example(name), bench / f"run-{name}"
        if not out.exists():
            words = [*one.options(), "--run.out", out, "--run.samples", 0, "--run.device", "cpu"]
            assert command("fit", "--plugin", one.plugin, *words) == 0
        return out

    return fit


NAMES = ("my_decoder", "close_edges", "my_dataset")


@pytest.mark.parametrize("name", NAMES)
def test_from_python(name: str, bench: Path, example: Callable[[str], Example], tmp_path: Path) -> None:
    one = example(name)
    with fresh_process():
        run = stg.fit(plugin=one.plugin, **one.config(tmp_path / "run"))
        assert json.loads((run / "config.json").read_text())["plugin"] == [str(one.plugin)]
    with fresh_process():
        with pytest.raises(UserError, match=f"needs --plugin {one.plugin}"):
            stg.evaluate(run, "test")
        scores = stg.evaluate(run, "test", metrics=("bleu", "cider"), device="cpu", plugin=[one.plugin])
        assert scores["greedy"].values["bleu4"] >= 0
    with fresh_process():
        with pytest.raises(UserError, match=f"needs --plugin {one.plugin}"):
            stg.load(run, weights=bench / "weights", device="cpu")
        captioner = stg.load(run, weights=bench / "weights", device="cpu", plugin=str(one.plugin))
        assert captioner.caption(bench / "clips/v7.mp4")
        assert len(report_videos(ReportConfig(str(run), "test", device="cpu"), reporter=SILENT)) == 1
        assert report_run(ReportConfig(str(run)), reporter=SILENT).exists()
        sections = {part: from_dict(SECTIONS[part], values) for part, values in one.sections.items()}
        row, table = one.row(), {"seeds": "0", "beam": 1, "meteor": False, "out": str(tmp_path / "table")}
        asked = AblateConfig(**row, **table, run=RunConfig(samples=0, device="cpu"), **sections)
        assert ablate(asked) == 0
    assert list((tmp_path / "table").rglob("test-greedy-scores.json"))


@pytest.mark.parametrize("name", NAMES)
def test_as_commands(
    name: str,
    bench: Path,
    example: Callable[[str], Example],
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, run = example(name), trained(name)
    asked: list[tuple[object, ...]] = [
        ("evaluate", run, "--split", "test", "--beam", 2, "--meteor", "false", "--device", "cpu"),
        ("caption", bench / "clips/v7.mp4", "--model", run, "--weights", bench / "weights", "--workers", 0),
        ("report", run, "--split", "test", "--clips", bench / "clips", "--weights", bench / "weights"),
        ("report", run, "--out", tmp_path / "run.html"),
    ]
    said = list[str]()
    capsys.readouterr()
    for words in asked:
        # It may not be found by a file of a run, as it is code: it says which it needs.
        assert command(*words) == 2  # type: ignore[arg-type]
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1
        assert f"needs --plugin {one.plugin} (or, in Python, an import of it)" in error[0]
        assert command(*words, "--plugin", one.plugin) == 0  # type: ignore[arg-type]
        said.append(capsys.readouterr().out)
    assert "v7.mp4: " in said[1]
    assert list((run / "evaluation").glob("test-beam2-scores.json"))
    assert (run / "report/test.html").exists()
    assert (tmp_path / "run.html").exists()
    row = [f"--{axis}={value}" for axis, value in one.row().items()]
    table = [*row, "--seeds", 0, "--beam", 1, "--meteor", "false", "--out", tmp_path / "table"]
    assert command("ablate", *table, *one.options(), "--plugin", one.plugin) == 0
    assert list((tmp_path / "table").rglob("test-greedy-scores.json"))


def test_a_command_in_a_process_of_its_own(python: list[str], bench: Path, trained: Callable[[str], Path]) -> None:
    run = trained("close_edges")
    words = ["-m", "stg.evaluate", run, "--split", "test", "--beam", "1", "--meteor", "false"]
    asked = [*python, *words, "--plugin", EXAMPLES / "close_edges.py"]
    done = subprocess.run(asked, cwd=bench, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_has_moved_is_given_at_its_new_place(
    bench: Path, trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "my_decoder.py"
    moved.write_bytes((EXAMPLES / "my_decoder.py").read_bytes())
    words = ["caption", bench / "clips/v7.mp4", "--model", trained("my_decoder"), "--weights", bench / "weights"]
    capsys.readouterr()
    assert command(*words, "--workers", 0, "--plugin", tmp_path / "my_decoders.py") == 2  # type: ignore[arg-type]
    assert "my_decoders.py is not there" in capsys.readouterr().err
    assert command(*words, "--workers", 0, "--plugin", moved) == 0  # type: ignore[arg-type]


class StopInTraining(Reporter):
    """Asks for a stop after the first step."""

    training = False

    @contextmanager
    def training_bar(self, epochs: int) -> Iterator[Any]:
        self.training = True
        with super().training_bar(epochs) as show:
            yield show

    def should_stop(self) -> bool:
        return self.training


@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumes(
    name: str, example: Callable[[str], Example], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    """With the plugin elsewhere, to the same weights as without a stop."""
    one, out = example(name), tmp_path / "run"
    with fresh_process(), pytest.raises(Preempted):
        stg.fit(plugin=[str(one.plugin)], reporter=StopInTraining(), **one.config(out))
    assert json.loads((out / "state.json").read_text())["step"] == 1
    moved = tmp_path / one.plugin.name
    moved.write_bytes(one.plugin.read_bytes())
    assert command("fit", "--plugin", moved, *one.options(), "--run.out", out, "--run.samples", 0) == 0
    whole, resumed = (load_file(run / "model.safetensors") for run in (trained(name), out))
    assert whole.keys() == resumed.keys()
    for part in whole:
        assert torch.equal(whole[part], resumed[part]), part


def test_new_clips_get_the_edges_that_the_model_was_trained_on(bench: Path, trained: Callable[[str], Path]) -> None:
    with fresh_process():
        load_plugin(str(EXAMPLES / "close_edges.py"))
        captioner = stg.load(trained("close_edges"), weights=bench / "weights", device="cpu")
        close, seen = graphs.VARIANTS["close"], list[tuple[int, set[int]]]()

        def watched(batch: Any) -> Any:
            edges = close(batch)
            seen.append((len(edges[1]), set(edges[2].tolist())))
            return edges

        graphs.VARIANTS["close"] = watched
        with torch.no_grad():
            for weight in captioner.trained.captioner.parameters():
                weight.mul_(4)  # barely trained, it hardly minds its edges
        found = captioner.describe(bench / "clips/v7.mp4").log_prob
        assert len(seen) == 1
        assert seen[0][0] > 0
        assert seen[0][1] == {2}
        for other in ("none", "full"):
            graphs.VARIANTS["close"] = graphs.VARIANTS[other]
            assert captioner.describe(bench / "clips/v7.mp4").log_prob != found, other


def test_edges_of_a_type_without_a_name_are_not_stored(bench: Path, tmp_path: Path) -> None:
    with GraphStore(bench / "store") as store:
        graph = store.get("v0")
    with fresh_process():
        load_plugin(str(EXAMPLES / "close_edges.py"))
        graph.edge_index, graph.edge_weight, graph.edge_type = graphs.select_edges(graph, "close")
        assert len(graph.edge_type)
        with GraphStore(tmp_path / "mine", "w") as mine:
            mine.put("v0", graph)
            assert set(mine.get("v0").edge_type.tolist()) == {2}
    no_name = "edge_type holds 2, which has no name: register one first"
    with GraphStore(tmp_path / "unnamed", "w") as unnamed, pytest.raises(StoreError, match=no_name):
        unnamed.put("v0", graph)
    with pytest.raises(StoreError, match="close"):
        GraphStore(tmp_path / "mine").get("v0")


@pytest.mark.parametrize(
    ("words", "registry"),
    [
        (["fit", "--model.decoder", "odd"], DECODERS),
        (["fit", "--graph.variant", "odd"], graphs.VARIANTS),
        (["fit", "--data.dataset", "odd"], DATASETS),
        (["fit", "--optim.algorithm", "odd"], OPTIMISERS),
        (["evaluate", "RUN", "--search.method", "odd"], SEARCHES),
        (["report", "RUN", "--split", "test", "--explainers", "odd"], EXPLAINERS),
        (["extract", "CLIPS", "--out", "OUT", "--backbone", "odd"], BACKBONES),
        (["extract", "CLIPS", "--out", "OUT", "--detector", "odd"], DETECTORS),
        (["extract", "CLIPS", "--out", "OUT", "--motion", "odd"], MOTION),
        (["extract", "CLIPS", "--out", "OUT", "--sound", "odd"], SOUND),
        (["ablate", "--variants", "odd"], graphs.VARIANTS),
        (["ablate", "--decoders", "odd"], DECODERS),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    words: list[str],
    registry: Mapping[str, object],
    bench: Path,
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that a plugin added are known, too."""
    place = {"RUN": trained("my_dataset"), "CLIPS": bench / "clips", "OUT": tmp_path / "store"}
    every = [word for path in EXAMPLES.glob("*.py") for word in ("--plugin", path)]
    capsys.readouterr()
    assert command(*[place.get(word, word) for word in words], *every) == 2  # type: ignore[arg-type]
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "odd" in error
    added = {id(DECODERS): "gru", id(graphs.VARIANTS): "close", id(DATASETS): "walls"}.get(id(registry), "")
    for name in (*registry, added):
        assert name in error, name


def test_workers_of_ray_import_the_plugins(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, plugin = ExecutionConfig(threads=torch.get_num_threads()), EXAMPLES / "my_decoder.py"
    networks = NetworkConfig(detector="none", backbone=str(bench / "weights/net.onnx"))
    settings = {"networks": networks, "sampling": SamplingConfig(), "work": work, "features_dtype": "float16"}
    asked = list[dict[str, Any]]()

    def workers(clips: object, settings: dict[str, Any], *others: object) -> Iterator[RayRow]:
        asked.append(settings)
        yield from ()

    monkeypatch.setattr("stg.features.ray.extract_with_ray", workers)
    monkeypatch.chdir(EXAMPLES)
    with fresh_process(), GraphStore(tmp_path / "store", "w") as store:
        load_plugin("my_decoder.py")
        log = ExtractionLog(store.path)
        ingest_with_ray(store, {}, networks, SamplingConfig(), work, log=log, progress=lambda done, total: None)
    assert asked == [{**settings, "plugins": [str(plugin)]}]
    with fresh_process():
        ray_worker(asked[0]).close()
        assert "gru" in DECODERS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("decoders['transformer'] = None", r"replaces or removes DECODERS\['transformer'\] of the library"),
        ("del graphs.VARIANTS['none']", r"replaces or removes VARIANTS\['none'\] of the library"),
        ("graphs.VARIANTS['full'] = graphs.VARIANTS['none']", r"replaces or removes VARIANTS\['full'\] of the library"),
        ("graphs.VARIANTS['first'] = None", r"replaces or removes VARIANTS\['first'\] of the plugin .*first_one.py"),
        ("graphs.EDGE_TYPES['mine'] = 1", "gives edges 'mine' the number 1, which 'temporal' has"),
        ("graphs.EDGE_TYPES['mine'] = 7", "gives edges 'mine' the number 7, which 'first' has"),
    ],
)
def test_a_plugin_takes_nobodys_name_or_number(line: str, said: str, tmp_path: Path) -> None:
    head = "import graphs", "from stg.models.decoders import DECODERS as decoders"
    first = plugin_of(tmp_path, "first_one", *head, "graphs.VARIANTS['first'] = len; graphs.EDGE_TYPES['first'] = 7")
    second = plugin_of(tmp_path, "second_one", *head, "graphs.VARIANTS['second'] = len", line)
    with fresh_process():
        plugins.load_plugin(first)
        before = [dict(registry) for registry in plugins._registries()]
        with pytest.raises(ValueError, match=f"second_one.py {said}"):
            plugins.load_plugin(second)
        # What it had added before is taken back, and it may be mended and given again.
        assert [dict(registry) for registry in plugins._registries()] == before
        assert plugins.loaded_plugins() == (first,)
        plugins.load_plugin(plugin_of(tmp_path, "second_one", *head, "graphs.VARIANTS['second'] = len"))
        assert "second" in graphs.VARIANTS


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("leaves", ["import sys", "sys.exit(0)"], "cannot be imported: SystemExit: 0$"),
        ("wordy", ["raise RuntimeError('one\\n two')"], "cannot be imported: RuntimeError: one two$"),
        ("colorsys", [], "has the name of another module, colorsys: rename the file$"),
        ("cut", ["def f("], "cannot be imported: SyntaxError: .* line 1.$"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(name: str, lines: list[str], said: str, tmp_path: Path) -> None:
    path = plugin_of(tmp_path, name, *lines)
    with fresh_process(), pytest.raises(ValueError, match=said):
        plugins.load_plugin(path)
    assert name == "colorsys" or name not in sys.modules
    for other in "", ".", "..x", "a folder", str(tmp_path):
        with pytest.raises(ValueError, match=r"is neither a Python file \(NAME.py\) nor the name of a module"):
            plugins.load_plugin(other)


def test_a_plugin_may_hold_dataclasses_with_written_annotations(tmp_path: Path) -> None:
    lines = (
        "from __future__ import annotations",
        "import dataclasses",
        "@dataclasses.dataclass",
        "class A:",
        "    a: int",
    )
    with fresh_process():
        plugins.load_plugin(plugin_of(tmp_path, "annotated", *lines))
        assert sys.modules["annotated"].A(3).a == 3
