"""Make a captioner ready to come with the package: its weights, networks and card in one folder.

`stg ship RUN --name NAME --weights DIR` writes `model.safetensors`, in half precision where that changes hardly any
caption of the validation videos, and `card.md`, whose scores are those that stg.evaluate recorded in the run; and
copies the ONNX networks that captioning reads to the folder that all captioners share, if their origin and licence are
known. `stg models` lists the result, `stg caption` takes it.
"""

from stg.commands.parser import command
from stg.config.shipping import ShipConfig


def main(config: ShipConfig) -> int:
    """The command."""
    from stg.commands.ship import main as run

    return run(config)


if __name__ == "__main__":
    command("ship", ShipConfig, main, __doc__ or "")
