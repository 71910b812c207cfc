"""Grids: tables of all combinations of some settings."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import get_args

from stg.ablation.tables import Table, TableRow
from stg.config.model import ModelConfig
from stg.config.plugins import known, near
from stg.runtime.errors import UserError

AXES: Mapping[str, str] = {
    "branches": "model.branches",
    "variants": "graph.variant",
    "decoders": "model.decoder",
}
"""Axes of a grid, as the options name them -> the setting along each."""


def _choices(axis: str) -> Sequence[str]:
    """What an axis may take, the names of plugins included."""
    names = {"variants": "variant", "decoders": "decoder"}
    return known(names[axis]) if axis in names else get_args(ModelConfig.__annotations__[axis])


def grid(**axes: Sequence[str]) -> Table:
    """All combinations of the axes' values as a table.

    Every row but the first is set against one that differs from it in one setting: along the first axis on which it
    does not have that axis's first value, back to that value (where there is such a row). The scene branch reads no
    graph: with it there is one row for all variants.

    Args:
        axes: some of :data:`AXES` -> different values of its setting; an axis without values is no axis.

    Raises:
        UserError: no axis, an unknown value or one twice.
    """
    used = {name: tuple(axes[name]) for name in AXES if axes.get(name)}
    for name, values in used.items():
        unknown = [value for value in values if value not in _choices(name)]
        if unknown or len(set(values)) < len(values):
            came = ",".join(unknown or values)
            meant = near(unknown[0], _choices(name)) if unknown else ""
            raise UserError(f"--{name} must be different ones of {', '.join(_choices(name))}; got {came!r}{meant}")
    if not used:
        raise UserError(f"a grid needs an axis: {', '.join(f'--{name}' for name in AXES)}")
    # The first value of each axis is the reference: order on the command line matters.
    firsts = {name: values[0] for name, values in used.items()}
    points = [dict(zip(used, point, strict=True)) for point in product(*used.values())]
    # The scene branch would train the same model once a variant.
    kept = [at for at in points if at.get("branches") != "scene" or at.get("variants") == firsts.get("variants")]
    rows = {}
    for at in kept:
        point = list(at.values())
        # One setting apart: only then is a difference of scores due to it.
        back = ({**at, name: firsts[name]} for name in at if at[name] != firsts[name])
        against = next(("-".join(other.values()) for other in back if other in kept), "")
        rows["-".join(point)] = TableRow(" ".join(point), {AXES[name]: value for name, value in at.items()}, against)
    return Table(
        title=f"grid of {' x '.join(used)}",
        reference="-".join(firsts.values()),
        base={AXES[name]: value for name, value in firsts.items()},
        rows=rows,
        notes=[
            "The scene branch reads no graph: it is trained once (here with graph.variant "
            f"{firsts['variants']}), not once for each of --variants."
        ]
        if len(kept) < len(points)
        else (),
    )
