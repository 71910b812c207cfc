"""Training on a reward of one's own, added by a plugin: from the command line and from Python."""

import json
from pathlib import Path
from typing import Any

import pytest

import stg
from stg.config.data import DataConfig, WorldConfig
from stg.config.schema import to_dict
from stg.config.training import FitConfig, RewardConfig
from stg.datasets.open import open_dataset
from stg.runs.folder import load_config
from stg.runtime.errors import StgError
from tests.stg.plug_in import EXAMPLES, command, fresh_process, plugin_of

PLUGIN = EXAMPLES / "my_reward.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WorldConfig(train=6, val=2, test=2)).store.close()
    return path


def sections(store: Path, out: Path, **weights: float) -> dict[str, dict[str, Any]]:
    return {
        "data": {"store": str(store), "min_count": 1},
        "world": {"train": 6, "val": 2, "test": 2},
        "model": {"channels": 8, "heads": 2, "hidden": 8, "layers": 1, "branches": "scene"},
        "optim": {"epochs": 1, "batch_videos": 3, "captions_per_video": 1},
        "reward": {"weight": 0.5, "from_epoch": 0, "cider": 0.0, "bleu4": 0.0, "weights": weights},
        "run": {"out": str(out), "samples": 0, "device": "cpu"},
    }


def first_step(run: Path) -> dict[str, float]:
    row: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    return row


def test_a_run_learns_from_the_reward_of_a_plugin(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_process():
        run = stg.fit(plugin=PLUGIN, **sections(store, tmp_path / "python", few_repeats=1.0))
        assert load_config(run).reward.weights == {"few_repeats": 1.0}
    asked = sections(store, tmp_path / "command", few_repeats=2.0)
    words = [
        f"--{part}.{key}={value if isinstance(value, str) else json.dumps(value)}"
        for part, values in asked.items()
        for key, value in values.items()
    ]
    # The same draws of the same first weights: the reward is that of the plugin alone, by its weight.
    assert command("fit", "--plugin", PLUGIN, *words) == 0
    once, twice = first_step(run), first_step(tmp_path / "command")
    assert 0 < once["reward"] <= 1
    assert twice["reward"] == pytest.approx(2 * once["reward"])
    capsys.readouterr()
    assert command("evaluate", run, "--meteor", "false") == 2
    assert f"needs --plugin {PLUGIN}" in capsys.readouterr().err


def test_files_of_runs_without_such_a_reward_stay_as_they_were() -> None:
    assert "weights" not in to_dict(FitConfig())["reward"]
    assert to_dict(RewardConfig(weight=0.5))["weight"] == 0.5


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ({"weights": {"few_repeat": 1.0}}, r"got 'few_repeat'; did you mean 'few_repeats'\? \(--plugin adds others\)$"),
        ({"weights": {"cider": 1.0}}, "the weight of cider is reward.cider$"),
        ({"weights": {"cidr": 1.0}}, r"got 'cidr'; did you mean reward.cider\? \(--plugin adds others\)$"),
        (
            {"weights": {"few_repeats": -1.0}},
            "reward.weights must not be negative, nor infinite; got -1.0 for few_repeats",
        ),
        ({"weights": {"few_repeats": 1.0}, "weight": 0.0}, "reward.weights is set and reward.weight is 0"),
        ({"weights": {"few_repeats": 0.0}}, "nothing is rewarded"),
        ({"weights": {"few_repeats": "much"}}, r"weights of RewardConfig must be dict\[str, float\]; got"),
        ({"weights": ["few_repeats"]}, r"weights of RewardConfig must be dict\[str, float\]; got"),
    ],
)
def test_weights_that_cannot_be_are_refused(reward: dict[str, Any], said: str, store: Path, tmp_path: Path) -> None:
    asked = sections(store, tmp_path / "run")
    asked["reward"] |= reward
    with fresh_process(), pytest.raises(ValueError, match=said):
        stg.fit(plugin=PLUGIN, **asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("np.ones(1)", r"for each of 3 captions; got an array of shape \(1,\)$"),
        ("np.full(len(captions), np.nan)", r"for each of 3 captions; got .* with NaN or infinite values$"),
    ],
)
def test_a_reward_that_gives_something_else_is_named(values: str, said: str, store: Path, tmp_path: Path) -> None:
    lines = PLUGIN.read_text().replace("np.array([len(set(words)) / max(len(words), 1) for words in texts])", values)
    odd = plugin_of(tmp_path, "odd", lines)
    with fresh_process(), pytest.raises(StgError, match=f"the reward 'few_repeats' must give one finite number {said}"):
        stg.fit(plugin=odd, **sections(store, tmp_path / "run", few_repeats=1.0))
