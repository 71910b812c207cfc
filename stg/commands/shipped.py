"""List the captioners that come with the installation."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.shipping import ModelsConfig
from stg.metrics.columns import heading, spread_text
from stg.runs.shipped import ShippedModel, shipped_models
from stg.runtime.errors import StgError
from stg.runtime.files import printable
from stg.runtime.output import json_line


def main(config: ModelsConfig) -> int:
    """The command.

    Raises:
        StgError: a file is missing or damaged.
    """
    models = shipped_models()
    damaged = {model.name: model.damaged() for model in models}
    for model in models if config.json else ():
        size = {"megabytes": model.megabytes, "damaged": damaged[model.name]}
        print(json_line({"name": model.name, **model.facts, **size}))
    if not models and not config.json:
        print("no captioner comes with this installation; stg ship makes one of a run")
    if models and not config.json:
        table = Table("name", "trained on", "scores", "reads", "MB", "files")
        for model in models:
            state = f"damaged: {', '.join(damaged[model.name])}" if damaged[model.name] else "verified"
            table.add_row(*map(_cell, (*_facts(model), state)))
        Console().print(table)
    if bad := [name for name, files in damaged.items() if files]:
        raise StgError(f"files of {', '.join(bad)} are missing or damaged: install the package again")
    return 0


def _facts(model: ShippedModel) -> tuple[str, ...]:
    found = model.facts["scores"]
    # By the search that captions clips, on test splits; the card has all.
    asked = {name: values for name, values in found.items() if name.endswith(f"test, {model.facts.get('search')}")}
    default = " (default)" if model.facts.get("default") else ""
    scores = "\n".join(
        f"{search}: "
        + ", ".join(f"{heading(name)} {spread_text(value)}" for name, value in values.items() if name in SHOWN)
        for search, values in (asked or found).items()
    )
    reads = "frames and detected objects" if model.facts.get("needs_detector") else "frames"
    return model.name + default, str(model.facts.get("data", "")), scores, reads, f"{model.megabytes:.1f}"


SHOWN = ("bleu4", "meteor", "cider")
"""Scores in the table; the card has all."""


def _cell(text: str) -> Text:
    return Text("\n".join(printable(line) for line in text.split("\n")))
