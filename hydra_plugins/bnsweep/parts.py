"""Parts of composed configs: copied, and put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

from hydra.core.override_parser.types import Override
from omegaconf import Container, DictConfig, ListConfig, Node

from hydra_plugins.bnsweep.overrides import parse_override


class Parts:
    """Of configs that Hydra composed for choices which keep to their own part of it each, given as (choices, config):
    what any other combination of these choices is put together from."""

    def __init__(self, packages: dict[str, str], composed: Sequence[tuple[Sequence[str], DictConfig]]) -> None:
        """`packages`: group -> the part that its choices are merged into, of the groups whose choices differ."""
        self._packages = packages
        self._first, self._whole = composed[0]
        self._nodes: dict[str, Node] = {}
        for choices, config in composed:
            for text in choices:
                group = parse_override(text).key_or_group
                if group in packages:
                    parent, key = _place(config, packages[group])
                    self._nodes[text] = parent.__dict__["_content"][key]

    def assemble(self, choices: Sequence[Override]) -> DictConfig | None:
        """The config of these choices, to be changed; None if one of them is new."""
        config = cast(DictConfig, copy_node(self._whole, None))
        names = config.hydra.runtime.choices
        for choice in choices:
            text = str(choice.input_line)
            if text in self._first:
                continue
            if text not in self._nodes:
                return None
            parent, key = _place(config, self._packages[choice.key_or_group])
            parent.__dict__["_content"][key] = copy_node(self._nodes[text], parent)
            names._get_node(choice.key_or_group)._set_value(choice.value())
        return config


def _place(config: DictConfig, package: str) -> tuple[Node, str]:
    """The node that holds the part, and its key there."""
    *path, key = package.split(".")
    node: Any = config
    for step in path:
        node = node.__dict__["_content"][step]
    return node, key


def copy_node(node: Node, parent: Node | None) -> Node:
    """`copy.deepcopy(node)` in a tenth of its time, put under `parent`: values are never changed in place, so the new
    nodes hold the same ones."""
    twin: Node = object.__new__(type(node))
    state, metadata = twin.__dict__, object.__new__(type(node._metadata))
    facts = metadata.__dict__
    facts.update(node._metadata.__dict__)
    facts["flags"] = dict(facts["flags"] or ())
    facts["resolver_cache"] = deepcopy(facts["resolver_cache"]) if facts["resolver_cache"] else defaultdict(dict)
    state.update(node.__dict__)
    state.update(_metadata=metadata, _parent=parent, _flags_cache=None)
    if "_content" in state:
        state["_content"] = _copy_content(state["_content"], twin)
    return twin


def merges_into_references(files: Sequence[tuple[str, Container]]) -> bool:
    """Whether a mapping or list of one of these (package, config) is merged where another has an interpolation: what
    that stands for, which may be another group's, is then copied there."""
    references: set[str] = set()
    containers: set[str] = set()

    def visit(node: Node, path: str) -> None:
        content = node.__dict__.get("_content")
        if node._is_interpolation():
            references.add(path)
        elif isinstance(node, Container):
            containers.add(path)
            for key, child in content.items() if isinstance(content, dict) else ():
                visit(child, f"{path}.{key}")

    for package, config in files:
        visit(config, f".{package}" if package else "")
    return bool(references & containers)


def fill(node: ListConfig, texts: Sequence[str]) -> None:
    """Replace the items of a list of strings, the first as OmegaConf does and the others after its model."""
    node.clear()
    node.extend(texts[:1])
    items = node.__dict__["_content"]
    for place, text in enumerate(texts[1:], start=1):
        item = copy_node(items[0], node)
        item._metadata.key = place
        item.__dict__["_val"] = text
        items.append(item)


def _copy_content(content: Any, parent: Node) -> Any:
    """Of a mapping, a list, a union, or what stands for one (None, an interpolation)."""
    if isinstance(content, dict):
        return {key: copy_node(child, parent) for key, child in content.items()}
    if isinstance(content, list):
        return [copy_node(child, parent) for child in content]
    return copy_node(content, parent) if isinstance(content, Node) else content
