"""The commands that do by hand what an ablation does with a cell."""

import json
import shlex
from dataclasses import fields
from typing import Any

from stg.config.evaluation import EvaluateConfig
from stg.config.schema import differences, to_dict
from stg.config.training import FitConfig


def fit_command(config: FitConfig) -> str:
    """``python -m stg.fit`` with all that is not its default."""
    changed = differences(to_dict(FitConfig()), to_dict(config))
    plugins = [f"--plugin {shlex.quote(plugin)}" for plugin in config.plugin]
    changed = {key: pair for key, pair in changed.items() if not key.startswith("plugin")}
    options = plugins + [f"--{key} {shlex.quote(_written(value))}" for key, (_, value) in changed.items()]
    return " ".join(["python -m stg.fit", *options])


def evaluate_command(config: EvaluateConfig) -> str:
    """``python -m stg.evaluate`` with all that is not its default."""
    default = EvaluateConfig(run=config.run)
    changed = {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if getattr(config, item.name) != getattr(default, item.name)
    }
    options = [f"--{key} {shlex.quote(_written(value))}" for key, value in changed.items()]
    return " ".join(["python -m stg.evaluate", shlex.quote(config.run), *options])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
