"""YAML files of others, read within limits."""

from typing import Any

import yaml

from stg.runtime.errors import UserError
from stg.runtime.reading import MAX_DEPTH, read_text

MAX_BYTES = 2**17
"""Larger files are refused: YAML is read at a megabyte in ten seconds, and options fill a page."""

MAX_VALUES = 50_000
"""Most values of a file, those behind an alias counted wherever it stands: a few lines of aliases make billions."""

MAX_NUMBER = 100
"""Longest number in characters: numbers in base 60 take quadratic time."""

_PLAIN = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:binary")


def read_yaml(path: object) -> Any:
    """What a YAML file holds, as plain dicts, lists and values. Of the file's text no error shows a word.

    Raises:
        UserError: unreadable, larger than :data:`MAX_BYTES`, not YAML, nested too deeply, or an alias that stands for
            too much or for itself; names the file, and the line where there is one.
    """
    return parse_yaml(read_text(str(path), max_bytes=MAX_BYTES), str(path))


def parse_yaml(text: str, path: str) -> Any:
    """What YAML holds that is part of a file, such as the head of a Markdown page; as `read_yaml`."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, path, {}, ())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
        raise UserError(f"{path} is not valid YAML{at}: check that it is the file that was meant") from error
    except RecursionError as error:
        raise UserError(f"{path} is nested more than {MAX_DEPTH} levels deep") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # A date that is none, a sign that YAML forbids: its reader raises what Python's types do.
        raise UserError(f"{path} is not valid YAML ({type(error).__name__}): write odd values in quotes") from error
    finally:
        if loader is not None:
            loader.dispose()


def _measure(node: yaml.Node, where: str, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values a node stands for, its aliases written out."""
    if id(node) in above:
        raise UserError(f"{where} holds an alias that stands for itself: write the value out")
    if len(above) > MAX_DEPTH:
        raise UserError(f"{where} is nested more than {MAX_DEPTH} levels deep")
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MAX_NUMBER and node.tag not in _PLAIN:
            raise UserError(f"{where} line {node.start_mark.line + 1} holds a number of {len(node.value)} characters")
        inside: list[yaml.Node] = []
    else:
        assert isinstance(node, yaml.SequenceNode | yaml.MappingNode)
        inside = [each for item in node.value for each in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = 1 + sum(_measure(each, where, known, (*above, id(node))) for each in inside)
    if known[id(node)] > MAX_VALUES:
        raise UserError(f"{where} holds more than {MAX_VALUES} values, those behind aliases counted: write fewer")
    return known[id(node)]
