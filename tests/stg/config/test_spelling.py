"""From a name that is no option to those that may be meant."""

import pkgutil
from dataclasses import fields, is_dataclass
from importlib import import_module

import pytest

import stg.config
from stg.config.spelling import SYNONYMS, near_options

KNOWN = [
    "world.seed",
    "model.layers",
    "optim.lr",
    "optim.epochs",
    "reward.lr",
    "run.out",
    "run.seed",
    "beam",
    "search.beam",
]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lr", ["optim.lr", "reward.lr"]),
        ("learning_rate", ["optim.lr", "reward.lr"]),
        ("Learning-Rate", ["optim.lr", "reward.lr"]),
        ("reward.learning_rate", ["reward.lr"]),
        ("model.lr", ["optim.lr", "reward.lr"]),
        ("optim.lrr", ["optim.lr"]),
        ("epoch", ["optim.epochs"]),
        ("n_epochs", ["optim.epochs"]),
        ("model.num_layers", ["model.layers"]),
        ("seed", ["world.seed", "run.seed"]),
        ("num_beams", ["beam"]),
        ("search.num_beams", ["search.beam"]),
        ("optm.lf", ["optim.lr"]),
        ("xyzzy", []),
    ],
)
def test_the_option_that_is_meant_is_found(name: str, near: list[str]) -> None:
    assert near_options(name, KNOWN) == near


def test_words_of_other_programs_lead_to_options_that_exist() -> None:
    modules = [import_module(f"stg.config.{found.name}") for found in pkgutil.iter_modules(stg.config.__path__)]
    classes = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    options = {item.name for kind in classes if is_dataclass(kind) for item in fields(kind)} | {"debug"}
    assert {target for targets in SYNONYMS.values() for target in targets} - options == set()
