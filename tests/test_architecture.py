"""Who may import whom, and what importing costs: read from the syntax trees."""

import ast
import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

from tests.structure import LONG, MANY, Structure

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "graphs": {"decoders", "stg", "benchmarks", "tests"},
    "decoders": {"graphs", "stg", "benchmarks", "tests", "torch_geometric"},
    "stg": {"benchmarks", "tests"},
}
# Vocabulary of the other side of the house: a room that says it has grown into the wrong one.
SILENT = {"graphs": ("caption", "token"), "decoders": ("node", "edge_", "box")}

FLOORS = {
    "config": 1,
    "runtime": 1,
    "text": 2,
    "video": 2,
    "data": 3,
    "metrics": 3,
    "vision": 3,
    "features": 4,
    "models": 4,
    "datasets": 5,
    "runs": 5,
    "evaluation": 6,
    "explain": 6,
    "captioning": 6,
    "training": 6,
    "retrieval": 7,
    "benchmark": 7,
    "pages": 7,
    "ablation": 8,
    "commands": 9,
}
"""The packages of stg, each on its floor."""
ALLOWED = {name: {other for other in FLOORS if FLOORS[other] < floor} for name, floor in FLOORS.items()}
"""A package imports lower floors only, and none of its own floor."""
ENTRY_POINTS = sorted(path.stem for path in (ROOT / "stg").glob("[!_]*.py"))
EXTRAS = {
    "ray",
    "spacy",
    "h5py",
    "onnxruntime",
    "en_core_web_sm",
    "torch_geometric",
    "torchvision",
    "wandb",
    "huggingface_hub",
    "timm",
    "transformers",
}
"""Imported where they are needed: not installed everywhere, or, as PyG and torchvision, slow and not needed by most."""
ON_DEMAND = {
    ("stg.commands.bench_ask", "stg.benchmark.language_models"),
    ("stg.commands.caption", "stg.commands.caption_pages"),
    ("stg.commands.compare", "stg.commands.compare_page"),
    ("stg.explain.explainers", "stg.explain.graph_attribution"),
    ("stg.training.trackers", "torch.utils.tensorboard"),
}
"""Who imports what in a function, as most of its users need none of what comes along: pages, PyG, an extra."""
HEAVY = {"torch", "torchvision", "torch_geometric", "av", "onnxruntime", "pycocoevalcap"}
TORCH_FREE = (
    "stg.config", "stg.runtime", "stg.text", "stg.video", "stg.ablation.config", "stg.features.rebuild",
    "stg.vision.registry", "stg.vision.published", "stg.vision.weights", "stg.vision.model_folders",
    "stg.runs.model_file", "stg.runs.pretrained", "stg.runs.shipped", "stg.runs.calibration",
    "stg.commands.parser", "stg.commands.checks", "stg.commands.manual_pages",
)  # fmt: skip
"""Modules, and packages with all their modules, that import no torch."""
WITH_TORCH = {"stg.runtime.device", "stg.runtime.distributed"}
KNOWN_LONG = {
    # The training loop, which is to be read from top to bottom.
    "stg.training.loop _train",
}
"""Functions that are still too long, or take too many arguments: only ever fewer."""
KNOWN_LAZY = {
    "stg.datasets.world.dataset",
    "stg.datasets.world.extractor",
    "stg.features.extraction",
    "stg.runs.folder",
}
"""Files with imports in functions that the rules do not allow: only ever fewer."""
KNOWN_UPWARD: set[tuple[str, str]] = set()
"""Imports between files that still run upward: only ever fewer."""
KNOWN_WITH_TORCH: set[str] = set()
"""Modules that are to import without torch and do not yet."""
PUBLIC = {
    "stg": "load show fit evaluate extract StgError UserError __version__",
    "stg.config": "FitConfig DataConfig WorldConfig GraphConfig ModelConfig LossConfig OptimConfig RewardConfig "
    "RunConfig SearchConfig EvaluateConfig CaptionConfig ExtractConfig ImportConfig NetworkConfig SamplingConfig "
    "ExecutionConfig EdgeConfig ReportConfig EmbedConfig FuseConfig CompareConfig PredictionsConfig WordsConfig "
    "ProbeConfig StoreConfig ModelsConfig ShipConfig BenchConfig",
    "stg.datasets": "CaptionDataset DATASETS open_dataset World",
    "stg.datasets.world": "World",
    "stg.data": "BatchSource TrainingSet CaptionBatch",
    "stg.vision": "Backbone Detector MotionNetwork BACKBONES DETECTORS MOTION SOUND",
    "stg.features": "Extractor ingest plan_features",
    "stg.text": "Vocabulary tokenize",
    "stg.models": "Captioner Branch SceneBranch MemoryBuilder build_captioner generate DECODERS "
    "export_onnx OnnxCaptioner",
    "stg.training": "fit train_step captioning_losses reward_losses OPTIMISERS REWARDS TRACKERS Tracker",
    "stg.metrics": "Scorer Scores CiderD SentenceBleu RougeL METRICS",
    "stg.evaluation": "evaluate load_run compare",
    "stg.captioning": "VideoCaptioner UnlikeTraining load",
    "stg.retrieval": "EmbeddingBundle",
    "stg.explain": "explain Explanation Attribution EXPLAINERS",
    "stg.pages": "draw_edges show write_video_pages write_run_page run_view",
    "stg.runs": "RunFolder CaptionerBundle",
    "graphs": "StoreError GraphSource GraphsInMemory VARIANTS",
    "decoders": "SEARCHES",
}


def imported(source: str) -> set[str]:
    """Top-level names of everything a module imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else (node.module or "").split(".")[0])
    return names


def identifiers(source: str) -> set[str]:
    """All names that a module defines or uses."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id.lower())
        elif isinstance(node, ast.arg):
            names.add(node.arg.lower())
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name.lower())
        elif isinstance(node, ast.Attribute):
            names.add(node.attr.lower())
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_what_they_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        found = imported(file.read_text())
        assert not found & FORBIDDEN[room], f"{file} imports {found & FORBIDDEN[room]}"
        assert "." not in found, f"{file} has a relative import"


@pytest.mark.parametrize("room", SILENT)
def test_rooms_do_not_speak_of_the_other_side(room: str) -> None:
    for file in sorted((ROOT / room).rglob("*.py")):
        for name in identifiers(file.read_text()):
            assert not any(word in name for word in SILENT[room]), f"{file} says {name}"


@pytest.mark.parametrize("room", ["stg", "benchmarks"])
def test_graphs_and_decoders_are_used_by_their_public_names(room: str) -> None:
    # What graphs resolves by name: __all__, and the plumbing of stores, which is no part of what users read.
    public = {"graphs": set(import_module("graphs")._HOME), "decoders": set(import_module("decoders").__all__)}
    for file in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
                found = {alias.name for alias in node.names} - public.get(node.module or "", set())
                assert node.module not in public or not found, f"{file} imports {found}, which {node.module} has not"
            inner = [name for name in modules if name.startswith(("graphs.", "decoders."))]
            assert not inner, f"{file} reaches into {inner}: export the name from the package"


@pytest.mark.parametrize("room", ["graphs", "decoders"])
def test_every_public_name_is_there(room: str) -> None:
    package = import_module(room)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_users_of_graphs_do_not_read_of_locks_and_records() -> None:
    package = import_module("graphs")
    hidden = {"FileLock", "LMDBFile", "LockHeldError", "encode_graph", "lock_holder", "open_plain"}
    assert set(package._HOME) - set(package.__all__) == hidden
    assert all(getattr(package, name).__module__.startswith("graphs.storage.") for name in hidden)


def test_the_import_reader_sees_nested_and_relative_imports() -> None:
    found = imported("def f():\n    from stg.x import y\n    import graphs.edges as e\nfrom . import z\n")
    assert found == {"stg", "graphs", "."}


def test_nothing_unpickles() -> None:
    for room in FORBIDDEN:
        for file in sorted((ROOT / room).rglob("*.py")):
            source = file.read_text()
            assert not imported(source) & {"pickle", "dill", "cloudpickle", "joblib"}, file
            assert "weights_only=False" not in source, file
            assert "allow_pickle=True" not in source, file


@cache
def structure() -> Structure:
    return Structure(ROOT)


def package(module: str) -> str:
    """The package of stg that a module lies in; empty for those of graphs and decoders, and for stg's own files."""
    parts = module.split(".")
    return parts[1] if parts[0] == "stg" and len(parts) > 1 and parts[1] in FLOORS else ""


def test_packages_import_lower_floors_only() -> None:
    assert {path.name for path in (ROOT / "stg").iterdir() if (path / "__init__.py").exists()} == set(FLOORS)
    upward = {
        (start, end)
        for start, end in structure().file_arrows(for_types=True)
        if package(start) and package(end) and package(end) not in {*ALLOWED[package(start)], package(start)}
    }
    assert upward <= KNOWN_UPWARD, sorted(upward - KNOWN_UPWARD)


def test_files_import_each_other_in_no_circle() -> None:
    assert structure().file_circles() == []


def test_nobody_imports_an_entry_point() -> None:
    entries = {f"stg.{name}" for name in ENTRY_POINTS}
    assert not [found for found in structure().imports if entries & set(found.targets)]
    tests = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    for file in tests:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not entries & {alias.name for alias in node.names}, file
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in entries, file


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_is_help_and_one_lazy_import(name: str) -> None:
    tree = structure().trees[f"stg.{name}"]
    help_text, *imports, main, start = tree.body
    assert isinstance(help_text, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert isinstance(main, ast.FunctionDef)
    assert isinstance(start, ast.If)
    assert [node.module for node in main.body if isinstance(node, ast.ImportFrom)] == [f"stg.commands.{name}"]
    assert len(main.body) == 3, "a docstring, the import, the call"
    assert ast.unparse(start.body[0]).startswith(f"command('{name}', ")


def test_functions_are_short_and_take_few_arguments() -> None:
    found = set()
    for made in structure().functions:
        most = 110 if made.module.endswith(".loop") or made.module == "stg.retrieval.training" else LONG
        many = made.arguments > MANY and not made.name.endswith("__init__")
        if made.lines > most or many:
            found.add(f"{made.module} {made.name}")
    assert found <= KNOWN_LONG, sorted(found - KNOWN_LONG)


def test_imports_stand_at_the_top() -> None:
    """But those of entry points, of optional extras, and of heavy packages in modules that import no torch."""
    found = set()
    for name, tree in structure().trees.items():
        if name in ("stg", "stg.__main__") or name.removeprefix("stg.") in ENTRY_POINTS:
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef) or function.name == "__getattr__":
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    tops = {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and (name, node.module) not in ON_DEMAND:
                    tops = {(node.module or "").partition(".")[0]}
                else:
                    continue
                if not tops <= EXTRAS and not is_torch_free(name):
                    found.add(name)
    assert found <= KNOWN_LAZY, sorted(found - KNOWN_LAZY)


def is_torch_free(module: str) -> bool:
    if module in KNOWN_WITH_TORCH:
        return False
    free = any(module == name or module.startswith(f"{name}.") for name in TORCH_FREE)
    return free and module not in WITH_TORCH


# One interpreter imports what all share, then forks for each question: starting one for each takes most of the time.
FORKS = """
import importlib, io, json, os, runpy, sys, warnings
from contextlib import redirect_stdout
warnings.simplefilter("ignore")
import stg.commands.parser
answers = {}
for kind, name in json.load(sys.stdin):
    end, start = os.pipe()
    if os.fork() == 0:
        said, code = io.StringIO(), 0
        try:
            with redirect_stdout(said):
                if kind == "import":
                    importlib.import_module(name)
                elif kind == "run":
                    exec(name, {})
                else:
                    sys.argv = [name, "--help"]
                    runpy.run_module(name, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        except BaseException as error:
            code = repr(error)
        with os.fdopen(start, "w") as out:
            json.dump([code, sorted(sys.modules), said.getvalue()], out)
        os._exit(0)
    os.close(start)
    with os.fdopen(end) as answer:
        answers[name] = json.load(answer)
    os.wait()
print(json.dumps(answers))
"""

CAPTIONING = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from graphs import flat_graph
from stg.commands import compare, evaluate, fit, predictions, words
from stg.commands.caption import main
from stg.config.captioning import CaptionConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.datasets.world.dataset import World
from stg.features.extractor import Extractor
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.text.vocabulary import Vocabulary

world = World(train=1, val=1, test=1)
model, graph = ModelConfig(branches="scene", channels=8, heads=2, hidden=8, layers=1), GraphConfig()
vocabulary = Vocabulary.build(world.captions("test-00000"), min_count=1)
extractor = Extractor(None, world.backbone())
widths = FeatureWidths.of(flat_graph(extractor(world.sample("test-00000"))))
captioner = build_captioner(model, graph, widths=widths, vocabulary=len(vocabulary), max_words=30)
with TemporaryDirectory() as folder:
    clip, file = Path(folder, "clip.mp4"), Path(folder, "model.safetensors")
    world.write_mp4("test-00000", clip)
    CaptionerBundle(captioner, vocabulary, model, graph, widths, extractor.manifest()).save(file)
    main(CaptionConfig([str(clip)], model=str(file)))
    assert "onnxruntime" not in sys.modules
    main(CaptionConfig([str(clip)]))
"""
"""Imports the commands that need no graph, and captions a clip with a scene model and with the one that comes along."""


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[object, set[str], str]]:
    """Module -> how its import, or ``--help`` of an entry point, ends, what is imported then, and what was printed."""
    free = [name for name in structure().sources if is_torch_free(name)]
    asked = [("import", name) for name in free] + [("help", f"stg.{name}") for name in ENTRY_POINTS]
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        input=json.dumps([*asked, ("import", "graphs"), ("import", "decoders"), ("run", CAPTIONING)]),
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: (code, set(modules), said) for name, (code, modules, said) in json.loads(done.stdout).items()}


def test_help_comes_without_torch(answers: dict[str, tuple[object, set[str], str]]) -> None:
    for name in ENTRY_POINTS:
        code, modules, said = answers[f"stg.{name}"]
        assert code == 0, (name, code)
        assert not modules & (HEAVY | {"numpy", "rich", "PIL"}), (name, modules & HEAVY)
        assert f"usage: python -m stg.{name} [" in said


def test_modules_that_are_to_import_without_torch_do(answers: dict[str, tuple[object, set[str], str]]) -> None:
    free = [name for name in answers if is_torch_free(name)]
    assert len(free) > 40
    for name in free:
        code, modules, _ = answers[name]
        assert (code, modules & (HEAVY - {"av"} if name.startswith("stg.video") else HEAVY)) == (0, set()), name


def test_libraries_import_without_the_heavy_packages(answers: dict[str, tuple[object, set[str], str]]) -> None:
    for room in ("graphs", "decoders"):
        code, modules, _ = answers[room]
        assert (code, modules & {"torchvision", "av", "onnxruntime", "pycocoevalcap"}) == (0, set())
        assert not {name for name in modules if name.startswith("torch_geometric")} or room == "graphs"


def test_what_needs_no_graph_imports_no_pyg(answers: dict[str, tuple[object, set[str], str]]) -> None:
    code, modules, said = answers[CAPTIONING]
    assert (code, said.count("clip.mp4: ")) == (0, 2)
    heavy = {"torch_geometric", "torchvision", "torch._dynamo", "pandas", "PIL", "jinja2"}
    assert modules & (heavy | {"stg.pages", "stg.explain"}) == set()


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_the_plan_says(module: str) -> None:
    found = import_module(module)
    missing = [name for name in PUBLIC[module].split() if not hasattr(found, name)]
    assert not missing, f"{module} lacks {', '.join(missing)}"
    assert set(PUBLIC[module].split()) <= set(found.__all__)
    # A module of the same name would take the place of a lazy name once it is imported.
    if not isinstance(getattr(found, "__getattr__", None), FunctionType):
        return
    home = Path(found.__file__ or "")
    body = ast.parse(home.read_text("utf-8")).body
    eager = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not {path.stem for path in home.parent.glob("*.py")} & (set(found.__all__) - eager)


def test_the_function_is_not_hidden_by_the_command_of_its_name() -> None:
    """``from stg import fit`` is the function, before and after ``python -m stg.fit`` has run in the process."""
    code = (
        "import runpy, sys\nfrom stg import evaluate, extract, fit\nsys.argv = ['stg.fit', '--help']\n"
        "try:\n    runpy.run_module('stg.fit', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "import stg\nassert stg.fit is fit and callable(fit) and callable(evaluate) and callable(extract)\n"
        "assert 'torch' not in sys.modules and stg.__version__\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
