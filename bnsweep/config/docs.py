"""What stands beneath each setting in the code, for those who read its name in a table."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache

from bnsweep.config.run import RunConfig
from bnsweep.config.tree import GROUPS


@cache
def docs_of(kind: type) -> dict[str, str]:
    """Field -> its doc in one line, of a dataclass; nothing where its source is not at hand."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, SyntaxError):
        return {}
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, doc in zip(node.body, node.body[1:], strict=False):
        told = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str)
        if told and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            found[field.target.id] = " ".join(ast.literal_eval(doc.value).split())  # type: ignore[attr-defined]
    return found


def doc_of(factor: str, field: str = "") -> str:
    """Of a setting by its dotted name; of a group's choice, whose factor has the group's name, with its field."""
    group, _, name = factor.rpartition(".")
    if factor in GROUPS:
        group, name = factor, field
    return docs_of(GROUPS.get(group, RunConfig)).get(name, "")
