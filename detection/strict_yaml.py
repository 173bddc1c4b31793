"""YAML of texts, numbers, lists and mappings, read with the lines that things stand on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_DEEPEST = 16

# The parser in C where PyYAML has it: in Python a large file takes many seconds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(ValueError):
    """A text is not such YAML. The message says where and why, and quotes nothing."""


def parse(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the content of ``text``, and the nodes that `locate` finds lines in.

    Refused are keys given twice, aliases, and deep nesting. Raises YamlError.
    """
    try:
        _require_a_flat_tree(text)
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - safe, either of them
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(f"line {line}: not YAML of texts, numbers, lists and mappings") from None
    except yaml.MarkedYAMLError as error:
        # What ends too early is found on the line behind the last.
        line = min(error.problem_mark.line + 1 if error.problem_mark else 1, text.count("\n") + 1)
        raise YamlError(f"line {line}: not YAML: {error.problem or 'cannot be read'}") from None
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, TypeError):
        raise YamlError("not YAML") from None
    repeated = next(_repeated_keys(root), None)
    if repeated is not None:
        raise YamlError(f"line {repeated.start_mark.line + 1}: a key is given twice")
    return content, root


def locate(root: yaml.Node | None, steps: list[str | int]) -> tuple[int, list[str | int]]:
    """Return the line on which what the keys and positions ``steps`` lead to stands, and the steps
    that it is best named by."""
    line, node, shown = 1, root, list[str | int]()
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            pair = next((p for p in node.value if p[0].value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
        shown.append(step)
    if len(shown) < len(steps) and isinstance(steps[len(shown)], str):
        shown.append(steps[len(shown)])
    return line, shown


def _require_a_flat_tree(text: str) -> None:
    """Raise YamlError where what is to come is nested deeply or used twice by an alias: a few
    aliases of aliases stand for more than any memory holds."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(f"line {line}: aliases are not for policies; write it out instead")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise YamlError(f"line {line}: nested too deeply for a policy")


def _repeated_keys(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            # A key that is no scalar is refused later: no setting is called so.
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)
