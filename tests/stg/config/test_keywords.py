"""Wrong names in calls of the library: the near one, and how to give it."""

from pathlib import Path
from typing import Any

import pytest

import graphs
import stg
from stg.ablation.grids import grid
from stg.config.extraction import NetworkConfig
from stg.config.training import OptimConfig
from stg.explain.explainers import find_explainer
from stg.metrics.scorer import score
from stg.runtime.errors import UserError
from stg.vision.registry import network_spec


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        (stg.fit, {"learning_rate": 1}, r"stg.fit takes no argument 'learning_rate'; did you mean optim={'lr': ...}"),
        (stg.fit, {"optimm": {}}, r"did you mean .*\? It takes config, reporter, trackers, plugin, data, world,"),
        (stg.fit, {"temporal": 1}, r"did you mean model={'stats': {'st': {'temporal': ...}}}\? "),
        (stg.evaluate, {"metric": ["cider"]}, r"stg.evaluate takes no argument 'metric'; did you mean metrics=...\? "),
        (stg.evaluate, {"beam_size": 3}, r"did you mean searches=\[SearchConfig\(beam=...\)\]"),
        (
            stg.extract,
            {"out": "x", "num_frames": 3},
            r"sampling=SamplingConfig\(num_frames=...\)",
        ),
        (
            stg.load,
            {"weight": "w"},
            r"takes no argument 'weight'; did you mean weights=...\? It takes run, weig",
        ),
        (stg.load, {"qqq": 1}, r"stg.load takes no argument 'qqq'; It takes run, weights,"),
    ],
)
def test_a_wrong_argument_leads_to_the_right_one(call: Any, given: dict[str, Any], said: str, tmp_path: Path) -> None:
    place = () if call is stg.fit else (tmp_path / "nothing",)
    with pytest.raises(TypeError, match=said):
        call(*place, **given)


def test_a_wrong_key_of_a_section_leads_to_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"'batch_size' of OptimConfig; did you mean batch_videos\?; known: "):
        stg.fit(optim={"batch_size": 3})
    with pytest.raises(ValueError, match=r"unknown key 'order' of ModelConfig; did you mean stats.order\?; known: "):
        stg.fit(model={"order": "st"})


def test_right_arguments_pass(tmp_path: Path) -> None:
    for call, given in (
        (stg.evaluate, {"searches": (), "metrics": None, "device": "cpu", "out": None}),
        (stg.load, {"weights": (), "beam": 1, "device": "cpu"}),
        (stg.extract, {"out": tmp_path / "out", "networks": NetworkConfig(), "strict": True}),
        (stg.fit, {"optim": OptimConfig(), "run": {"out": str(tmp_path / "file")}}),
    ):
        (tmp_path / "file").write_text("")
        with pytest.raises((UserError, OSError)):
            call(*(() if call is stg.fit else (tmp_path / "nothing",)), **given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: network_spec("backbone", "resnet110"), r"got 'resnet110'; did you mean 'resnet101'\?$"),
        (lambda: find_explainer("grahp"), r"no explainer 'grahp': choose from .*; did you mean 'graph'\?$"),
        (
            lambda: score({}, {"v": ["a"]}, metrics=["cidre"]),
            r"no metric 'cidre': .*; did you mean 'cider'\? \(plug",
        ),
        (lambda: graphs.check_variant("spacial"), r"got 'spacial'; did you mean 'spatial'\?$"),
        (lambda: grid(decoders=["trasformer"]), r"got 'trasformer'; did you mean 'transformer'\?$"),
    ],
)
def test_a_name_comes_with_the_near_one(call: Any, said: str) -> None:
    with pytest.raises((UserError, ValueError), match=said):
        call()
