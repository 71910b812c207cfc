"""The tensors of video graphs by name, in a container that needs no PyTorch Geometric."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    import torch_geometric.data


@runtime_checkable
class GraphData(Protocol):
    """What is read of a graph, or of a flat batch of graphs: a PyG ``Data`` or ``Batch``, or a :class:`FlatBatch`."""

    # Tensors are attributes: `data.x` where it is there for sure, `data["size"]` where PyG has a method of that name.
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getitem__(self, name: str) -> Any: ...
    def __setitem__(self, name: str, value: Any) -> None: ...
    def __contains__(self, name: str) -> bool: ...
    def to_dict(self) -> dict[str, Any]: ...


def known_fields(data: GraphData, names: Sequence[str]) -> dict[str, Any]:
    """What a graph has of some fields; ``label_score`` stands in for ``scores``."""
    read = {name: data[name] for name in names if name in data}
    if "scores" in names and "scores" not in read and "label_score" in data:
        read["scores"] = data["label_score"]
    return read


def require_fields(read: Mapping[str, Any], *names: str) -> None:
    """Refuse a graph of which a field is missing.

    Args:
        read: what the graph has of the fields that are read.
        names: those that it must have.

    Raises:
        ValueError: naming the first that is missing.
    """
    for name in names:
        if name not in read:
            raise ValueError(f"the graph has no {name}, which every graph of build_graph or a store has: add it")


class FlatBatch:
    """The tensors of one graph, or of a flat batch of graphs: what PyG's ``Data`` holds, without PyG.

    PyTorch Geometric takes several times as long to import as PyTorch, and a model that reads no graph needs nothing of
    it. Fields are attributes and items alike; `to_data` gives the PyG object with the same tensors.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        del self.__dict__[name]

    def __contains__(self, name: str) -> bool:
        return self.__dict__.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__dict__.items())

    def get(self, name: str, default: Any = None) -> Any:
        """The field of that name, or ``default``."""
        return self.__dict__.get(name, default)

    def keys(self) -> list[str]:
        """The names of the fields that are there."""
        return [name for name, value in self if value is not None]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; the tensors are shared."""
        return dict(self.__dict__)

    def to_data(self) -> "torch_geometric.data.Data":
        """The PyG ``Data`` that shares these tensors."""
        # Here and not above: whoever asks for PyG pays for its import, nobody else.
        from torch_geometric.data import Data

        data = Data()
        fields = data.stores[0]  # five times faster to fill than by attributes of the graph
        for name, value in self:
            fields[name] = value
        return data

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "FlatBatch":
        """The same fields, the tensors on a device."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def clone(self) -> "FlatBatch":
        """The same fields, the tensors copied."""
        return self._map(torch.clone)

    def pin_memory(self) -> "FlatBatch":
        """The same fields, the tensors where a GPU may fetch them by itself."""
        return self._map(Tensor.pin_memory)

    def __repr__(self) -> str:
        shown = [f"{name}={list(v.shape) if isinstance(v, Tensor) else v!r}" for name, v in self]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _map(self, function: Callable[[Tensor], Tensor]) -> "FlatBatch":
        return FlatBatch(**{name: function(v) if isinstance(v, Tensor) else v for name, v in self})
