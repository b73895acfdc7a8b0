"""YAML that somebody wrote: no objects, no bomb of aliases, nothing but plain values."""

from __future__ import annotations

from typing import Any

import yaml

#: Characters that a file may have, and values that it may stand for once its aliases are followed.
LONGEST = 2**20
MOST = 100_000


def parse(text: str, twins: bool = True) -> Any:
    """Return the content of a YAML text.

    Args:
        text: the file's text.
        twins: whether a key may stand twice in one mapping, of which the last one then counts.

    Raises:
        YAMLError: for whatever is wrong with it; a MarkedYAMLError where the line is known.
    """
    if len(text) > LONGEST:
        raise yaml.YAMLError(f"it has more than {LONGEST:,} characters")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, twins)
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    # Hostile tags ("!!int x", a date in month 13) make PyYAML's constructors raise anything.
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise yaml.YAMLError("a value in it is not of the type that it claims") from error
    except RecursionError as error:
        raise yaml.YAMLError("it nests too deep") from error
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], twins: bool) -> int:
    """Return for how many values a node stands, each alias counted as what it repeats.

    Args:
        node: of the tree, in which what is repeated is one node at many places.
        known: node's id → its count; 0 while it is being counted.
        twins: as `parse` takes it.

    Raises:
        MarkedYAMLError: if they are too many, a node holds itself, or a key stands twice.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise _refused("something holds itself", node)
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.MappingNode) and not twins:
        _check_keys(node)
    if isinstance(node, yaml.CollectionNode):
        pairs = isinstance(node, yaml.MappingNode)
        for part in [p for pair in node.value for p in pair] if pairs else node.value:
            total += _count(part, known, twins)
            if total > MOST:
                raise _refused(f"it stands for more than {MOST:,} values", node)
    known[id(node)] = total
    return total


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            raise _refused(f"the key {key.value!r} is there twice", key)
        seen.add((key.tag, key.value))


def _refused(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
