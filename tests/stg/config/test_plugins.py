"""Names that options take, and plugins that add to them."""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphs
from decoders import SEARCHES
from stg.commands.parser import build_parser, parse, run_command
from stg.config.evaluation import EvaluateConfig
from stg.config.extraction import ExtractConfig
from stg.config.plugins import KINDS, check_name, known, load_plugin, loaded_plugins, plugin_hashes, require_plugins
from stg.config.schema import from_dict, to_dict
from stg.config.training import FitConfig
from stg.datasets.open import DATASETS
from stg.metrics import METRICS
from stg.models.decoders import DECODERS
from stg.runs.model_file import check_plugins
from stg.runtime.errors import UserError
from stg.training.rewards import REWARDS
from stg.training.schedules import OPTIMISERS
from stg.training.trackers import TRACKERS
from stg.vision import SOUND
from tests.stg.plug_in import fresh_process

PLUGIN = """
from stg.runtime.errors import UserError
from stg.datasets.open import DATASETS
from stg.models.decoders import DECODERS
DECODERS["mine"] = None
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """A file that adds the decoder ``mine``; all traces go with the test."""
    path = tmp_path / "my_decoder.py"
    path.write_text(PLUGIN)
    with fresh_process():
        yield path


def test_built_in_names_are_those_of_the_dicts() -> None:
    assert KINDS["decoder"].built_in == tuple(DECODERS)
    assert KINDS["optimiser"].built_in == tuple(OPTIMISERS)
    assert KINDS["variant"].built_in == tuple(graphs.VARIANTS)
    assert KINDS["dataset"].built_in == tuple(DATASETS)
    assert KINDS["search"].built_in == tuple(SEARCHES)
    assert KINDS["sound"].built_in == ("none", *SOUND)
    assert KINDS["metric"].built_in == tuple(METRICS)
    assert KINDS["reward"].built_in == tuple(REWARDS)
    assert KINDS["tracker"].built_in == tuple(TRACKERS)


@pytest.mark.parametrize(
    ("kind", "option", "config_class"),
    [
        ("dataset", "--data.dataset", FitConfig),
        ("variant", "--graph.variant", FitConfig),
        ("decoder", "--model.decoder", FitConfig),
        ("optimiser", "--optim.algorithm", FitConfig),
        ("tracker", "--run.trackers", FitConfig),
        ("search", "--search.method", EvaluateConfig),
        ("sound", "--sound", ExtractConfig),
    ],
)
def test_help_lists_the_built_in_names_and_others_are_refused(kind: str, option: str, config_class: type) -> None:
    text = build_parser(config_class, prog="x", description="").format_help()
    own = text.rpartition(f"  {option} ")[2].partition("  --")[0]
    for name in KINDS[kind].built_in:
        assert name in own, (option, name)
    positional = {EvaluateConfig: ["run"], ExtractConfig: ["clip", "--out", "s"]}.get(config_class, [])
    with pytest.raises(UserError, match=rf"must be one of {re.escape(', '.join(KINDS[kind].built_in))}.*; got 'odd'"):
        parse(config_class, [*positional, option, "odd"], prog="x", description="")


def test_a_plugin_adds_a_name_and_is_kept_in_the_run(plugin: Path) -> None:
    argv = ["--plugin", str(plugin), "--model.decoder=mine"]
    config, _ = parse(FitConfig, argv, prog="x", description="")
    assert config.model.decoder == "mine"
    assert known("decoder")[-1] == "mine"
    assert config.plugin == loaded_plugins() == (str(plugin),)
    assert from_dict(FitConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert "plugin" not in to_dict(FitConfig(plugin=()))


def test_what_needs_a_plugin_says_which(plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"plugin": [str(plugin)], "model": {"decoder": "mine"}}))
    assert run_command(EvaluateConfig, lambda config: 0, "", [str(run)]) == 2
    assert f"the run {run} needs --plugin {plugin} (or, in Python" in capsys.readouterr().err
    require_plugins([], "nothing")
    # Its file may lie elsewhere by now.
    moved = plugin.rename(run / plugin.name)
    load_plugin(str(moved))
    require_plugins([str(plugin)], "the run")
    assert run_command(EvaluateConfig, lambda config: 0, "", [str(run), "--plugin", str(moved)]) == 2
    assert "holds no trained model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, r"the plugin .*my_decoder.py is not there: give a Python file, or the name of a module"),
        ("1 / 0", r"the plugin .*my_decoder.py cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_plugin_that_fails_is_named(source: str | None, words: str, plugin: Path) -> None:
    plugin.unlink()
    if source is not None:
        plugin.write_text(source)
    with pytest.raises(ValueError, match=words):
        load_plugin(str(plugin))
    assert loaded_plugins() == ()
    assert "my_decoder" not in sys.modules


def test_a_plugin_may_be_a_module_and_must_not_hide_another(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no_such_module cannot be imported: ModuleNotFoundError"):
        load_plugin("no_such_module")
    load_plugin("json")
    assert loaded_plugins() == ("json",)
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ValueError, match="has the name of another module, json: rename the file"):
        load_plugin(str(tmp_path / "json.py"))


def test_the_hash_of_a_plugin_is_that_of_its_text(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_plugin(str(plugin))
    assert plugin_hashes() == (hashlib.sha256(PLUGIN.encode()).hexdigest(),)
    # What runs is what was imported, however its file is edited meanwhile.
    plugin.write_text(PLUGIN + "1 / 0")
    load_plugin(str(plugin))
    assert plugin_hashes() == (hashlib.sha256(PLUGIN.encode()).hexdigest(),)
    # Of a package all files count, and where they are does not.
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, text in ("same", ""), ("also", ""), ("other", "1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "part.py").write_text(text)
        load_plugin(name)
        found.append(plugin_hashes()[-1])
        sys.modules.pop(name)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("values", [{"plugin": "x"}, {"plugin": [], "plugin_sha256": [1]}, {"plugin_sha256": None}])
def test_damaged_lists_of_plugins_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UserError, match="the run lists plugins that are no names: it is damaged"):
        check_plugins(values, "the run")


def test_a_name_near_a_known_one_is_suggested() -> None:
    with pytest.raises(ValueError, match=r"got 'trasformer'; did you mean 'transformer'\? \(--plugin adds others\)$"):
        check_name("decoder", "model.decoder", "trasformer")
    with pytest.raises(ValueError, match=r"got 'zzz' \(--plugin adds others\)$"):
        check_name("decoder", "model.decoder", "zzz")
