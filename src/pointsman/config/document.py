"""Document: a YAML file as plain data in which every value knows its line and column.

Built from libyaml's event stream rather than from `yaml.compose`: the composer recurses in C and a file of a million
brackets ends the process; here depth and size are bounded (64 levels, 100 000 values after aliases are followed).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pointsman.config.problem import ConfigError, Place, Problem, dotted, short

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


class Node:
    """Hold a piece of the file: `value` is a scalar, a list of Nodes, or a list of (key Node, value Node)."""

    __slots__ = ("column", "kind", "line", "open", "text", "value")

    def __init__(self, kind: str, mark: Any) -> None:
        self.kind, self.line, self.column = kind, mark.line + 1, mark.column + 1
        self.value: Any = [] if kind != "scalar" else None
        self.text = ""
        self.open = True  # still being read: an alias to it would be a loop


class Document:
    """Hold the data of a file, the marks of its values and keys, and the problems found while reading it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.data: Any = {}
        self.values: dict[Place, tuple[int, int]] = {}
        self.keys: dict[Place, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.borrowed: set[Place] = set()  # values that came from the environment: never shown

    def mark(self, path: Place, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value (or of its key), or of the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (0, 0))

    def shown(self, path: Place, value: object) -> str:
        """Return a value as a message may repeat it: not at all when it came from the environment."""
        return "(from the environment)" if path in self.borrowed else f'"{short(str(value))}"'


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a file. Raise ConfigError(unreadable) when it is missing, too large or not UTF-8."""
    name = str(path)
    try:
        with path.open("rb") as handle:
            raw = handle.read(limit + 1)
    except FileNotFoundError:
        raise _unreadable(name, "no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "not a usable file name"
        raise _unreadable(name, f"cannot be read: {reason}.") from None
    if len(raw) > limit:
        raise _unreadable(name, f"larger than {limit // 1024} KiB.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(name, line, 1, "", "not UTF-8 text.")], "unreadable") from None


def parse(text: str, file: str) -> Document:
    """Return the Document of a YAML text. Raise ConfigError when it is not YAML at all."""
    document = Document(file)
    try:
        root = _build(text)
    except yaml.MarkedYAMLError as error:
        raise _invalid(file, error) from None
    except yaml.YAMLError as error:  # a byte that YAML does not allow
        line = text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
        raise ConfigError([Problem(file, line, 1, "", "not valid YAML: it has a control character.")]) from None
    try:
        _Plain(document).fill(root)
    except RecursionError:
        raise ConfigError([Problem(file, 1, 1, "", "not valid YAML: nested too deeply.")]) from None
    return document


def _unreadable(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 0, 0, "", message)], "unreadable")


def _invalid(file: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = short(error.problem or error.context or "cannot be parsed")
    tab = "\\t" in repr(error.problem) or "cannot start any token" in what
    hint = "YAML is indented with spaces, not tabs." if tab else ""
    return ConfigError([Problem(file, line, column, "", f"not valid YAML: {what}.", hint)])


def _fault(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _build(text: str) -> Node | None:
    """Return the tree of the only document in `text`, or None for an empty one. Raise yaml.YAMLError."""
    root: Node | None = None
    stack: list[Node] = []
    anchors: dict[str, Node] = {}
    documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _fault("more than one document", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, anchors)
            if stack:
                stack[-1].value.append(node)
            elif root is None:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                if len(stack) >= MAX_DEPTH:
                    raise _fault("nested too deeply", event)
                stack.append(node)
    return root


def _node(event: Any, anchors: dict[str, Node]) -> Node:
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise _fault(f"unknown alias *{event.anchor}", event)
        if anchors[event.anchor].open:
            raise _fault(f"*{event.anchor} holds itself", event)
        return anchors[event.anchor]
    kinds = {yaml.ScalarEvent: "scalar", yaml.SequenceStartEvent: "list", yaml.MappingStartEvent: "map"}
    node = Node(kinds[type(event)], event.start_mark)
    if node.kind == "scalar":
        node.text, node.open = event.value, False
        node.value = _scalar(event)
    elif event.tag not in (None, "!", _TAG + "seq", _TAG + "map"):
        raise _fault(f"the tag {event.tag} is not supported", event)
    if event.anchor:
        anchors[event.anchor] = node
    return node


_resolver: Any = yaml.resolver.Resolver()
_constructor: Any = yaml.constructor.SafeConstructor()


def _scalar(event: Any) -> Any:
    """Return the Python value of a scalar, by the YAML 1.1 rules; dates stay text."""
    tag = event.tag
    if tag in (None, "!"):
        tag = _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
    name = tag.removeprefix(_TAG)
    node = yaml.ScalarNode(tag, event.value)
    if name in ("str", "timestamp", "merge", "value"):
        return event.value
    if name == "null":
        return None
    makers = {
        "int": _constructor.construct_yaml_int,
        "float": _constructor.construct_yaml_float,
        "bool": _constructor.construct_yaml_bool,
    }
    try:
        return makers[name](node)
    except KeyError:
        problem = f"the tag {tag} is not supported"
    except ValueError:
        problem = "not a number"
    raise _fault(problem, event)


class _Plain:
    """Turn Nodes into plain data, following aliases and merges, and note where everything stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.left = MAX_VALUES

    def fill(self, root: Node | None) -> None:
        if root is None or (root.kind == "scalar" and root.value is None):
            raise ConfigError([Problem(self.document.file, 1, 1, "", "empty: there is nothing to route.")])
        if root.kind != "map":
            message = "expected a mapping with `deployments:` and `routes:`."
            raise ConfigError([Problem(self.document.file, root.line, root.column, "", message)])
        self.document.data = self.plain(root, ())

    def plain(self, node: Node, path: Place) -> Any:
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:
            raise self.error(node, "too many values" if self.left < 0 else "nested too deeply")
        self.document.values[path] = (node.line, node.column)
        if node.kind == "scalar":
            return node.value
        if node.kind == "list":
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        result: dict[str, Any] = {}
        own = {key.text for key, _ in pairs(node) if key.kind == "scalar"}
        for key, value in pairs(node):
            if key.kind == "scalar" and key.text == "<<":
                self.merge(value, path, own, result)
            else:
                self.pair(key, value, path, result)
        return result

    def pair(self, key: Node, value: Node, path: Place, into: dict[str, Any]) -> None:
        if key.kind != "scalar":
            raise self.error(key, "a key must be text")
        here = (*path, key.text)
        if key.text in into and here in self.document.keys:
            line, _ = self.document.keys[here]
            message = f'"{short(key.text)}" is set twice, first on line {line}.'
            self.document.problems.append(Problem(self.document.file, key.line, key.column, dotted(here), message))
            return
        self.document.keys[here] = (key.line, key.column)
        into[key.text] = self.plain(value, here)

    def merge(self, value: Node, path: Place, own: set[str], into: dict[str, Any]) -> None:
        """Follow `<<`: keys that the mapping has itself win, then the first of the merged mappings."""
        self.left -= 1
        if self.left < 0:
            raise self.error(value, "too many values")
        for source in value.value if value.kind == "list" else [value]:
            if not isinstance(source, Node) or source.kind != "map":
                raise self.error(value, "<< takes a mapping or a list of mappings")
            for key, item in pairs(source):
                if key.kind == "scalar" and key.text == "<<":
                    self.merge(item, path, own, into)
                elif key.kind == "scalar" and key.text not in own and key.text not in into:
                    self.document.keys[(*path, key.text)] = (key.line, key.column)
                    into[key.text] = self.plain(item, (*path, key.text))

    def error(self, node: Node, what: str) -> ConfigError:
        return ConfigError([Problem(self.document.file, node.line, node.column, "", f"not valid YAML: {what}.")])


def pairs(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield the keys and values of a mapping Node in file order."""
    flat = node.value
    return zip(flat[::2], flat[1::2], strict=True)
