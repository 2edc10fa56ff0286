"""YAML by the core schema of YAML 1.2: `off`, `yes`, `9:16`, `1_000` and `2024-01-01` are text, `010` is ten.

PyYAML parses; by itself it reads scalars as YAML 1.1 does, where these are False, True, 556, 1000 and a date.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from navicache_cli.errors import one_line
from navicache_cli.reading import MOST_LEVELS

MOST_VALUES = 100_000  # with each alias counted as what it stands for

_SCHEMA = "tag:yaml.org,2002:"
# The tables in YAML 1.2.2, chapter 10.3: what a plain scalar is, the first that fits.
_PLAIN = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}


class _Composer(yaml.SafeLoader):
    """Composes a document's nodes; scalars get the tags of the core schema."""

    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}  # noqa: RUF012 (PyYAML's own form)


for _name, _pattern in _PLAIN.items():
    _Composer.add_implicit_resolver(_SCHEMA + _name, re.compile(rf"(?:{_pattern})\Z"), None)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document.

    Keys are text, as they are written; `<<` is a key like any other.

    Returns:
        None, booleans, finite numbers, text, lists, and mappings of them.

    Raises:
        ValueError: it is no YAML, or has a number that is not finite, a key that is there twice, a tag of
            another schema, too many levels or values; the message says in one line what and where.
    """
    try:
        root = yaml.compose(text, Loader=_Composer)
        return None if root is None else _Values().read(root, MOST_LEVELS)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ValueError(f"it is not valid YAML{place}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"it is not valid YAML: {one_line(error)}") from None


_TOO_DEEP = f"at most {MOST_LEVELS} lists and mappings in one another were expected, it has more"


class _Values:
    """Makes values of nodes, and counts them: a few aliases of aliases may stand for billions."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, node: yaml.Node, levels: int) -> Any:
        """Return the value of a node in which `levels` more lists and mappings may lie."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise ValueError(f"at most {MOST_VALUES} values were expected, it has more")
        if not isinstance(node, yaml.ScalarNode) and not levels:
            raise ValueError(_TOO_DEEP)
        kind = node.tag.removeprefix(_SCHEMA)
        if isinstance(node, yaml.ScalarNode) and kind in ("str", *_PLAIN):
            return _scalar(node, kind)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.read(item, levels - 1) for item in node.value]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, levels)
        raise ValueError(f"a value without a tag was expected, {node.tag[:60]} is there{_place(node)}")

    def _mapping(self, node: yaml.MappingNode, levels: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"a key was expected to be text, it is a list or mapping{_place(key)}")
            if key.value in found:
                raise ValueError(
                    f"each key was expected once, {key.value[:60]!r} is there twice{_place(key)}"
                )
            found[key.value] = self.read(value, levels - 1)
        return found


def _scalar(node: yaml.ScalarNode, kind: str) -> Any:
    """Return the value of a scalar; of a plain one its form fits its kind, of one with a tag it may not."""
    text: str = node.value
    if kind == "str":
        return text
    if not re.fullmatch(_PLAIN[kind], text):
        raise ValueError(f"a value of kind {kind} was expected, found {text[:60]!r}{_place(node)}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        number = int(text, _BASES.get(text[:2], 10)) if kind == "int" else float(text)
        finite = math.isfinite(number)
    except (ValueError, OverflowError):  # .inf and .nan, which Python writes otherwise; 400 digits
        finite = False
    if not finite:
        raise ValueError(f"finite numbers were expected, {text[:40]} is none{_place(node)}")
    return number


_BASES = {"0o": 8, "0x": 16}


def _place(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})"
