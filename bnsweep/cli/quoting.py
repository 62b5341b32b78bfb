"""Settings that Hydra cannot read: what is wrong with them, and how they are written for the shell and for Hydra."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from bnsweep.config.tree import EXAMPLES, GROUPS, kind_of

LONG = 200
FORM = "must be KEY=VALUE (a value with spaces is quoted, for the shell and for Hydra: 'data.root=\"my data\"')"


def unreadable(text: str, says: str, several: bool = False) -> str:
    """The line for one argument that Hydra cannot parse; `says` is what it says itself. `several`: under --multirun,
    where commas part values."""
    key, equals, value = text.partition("=")
    name, shown, kind = key.lstrip("+"), shortened(text) or "''", kind_of(key.lstrip("+"))
    in_text = kind is not None and "text" in kind
    if not equals or not name:
        rule = FORM
    elif value_read(f"{key}=1") is None:
        rule = "must begin with the name of a setting, such as lr.value"
    elif not value.isprintable():
        rule = "must be without control characters"
    elif called := re.search(r"while evaluating '.*?': (.*?)(\n|$)", says):
        rule = f"must be a sweep such as seed=range(0,10), seed=choice(0,1) or lr.value=logspace(-3,1,9) ({called[1]})"
    elif "${" in value or (value[:1] in "[{(" and value) or (re.match(r"\w+\(", value) and not in_text):
        rule = "must close its brackets, and quote what is in them where it is more than letters and digits"
        if name in EXAMPLES:
            rule += f"; with the quotes that the shell takes away: '{name}={EXAMPLES[name]}'"
    elif not in_text and "" in value.split(","):
        rule = "must have a value on both sides of each comma"
    elif name in GROUPS:
        rule = f"{name} takes the name of a choice (--help lists them)"
    elif kind is not None and not in_text:
        rule = f"must be {kind}"
    else:
        fit = next(quoted(key, value.split(",") if several else [value]), None)
        rule = f"must be quoted, for the shell and for Hydra: {shlex.quote(fit)}" if fit else "must be quoted"
    return f"{shown}: {rule}"


def quoted(key: str, values: Sequence[str]) -> Iterator[str]:
    """The ways to write it that Hydra reads as these values."""
    from hydra.core.override_parser.types import Quote, QuotedString

    for quote in (Quote.double, Quote.single):
        texts = [v if value_read(f"{key}={v}") == v else QuotedString(v, quote).with_quotes() for v in values]
        if [value_read(f"{key}={text}") for text in texts] == list(values):
            yield f"{key}={','.join(texts)}"


def value_read(text: str) -> object:
    """What Hydra reads as the value of an override; None where it reads none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_override(text).value()
    except Exception:  # a lexer's, a parser's or a function's own
        return None


def shortened(text: str, most: int = LONG) -> str:
    """The text, without its middle where it is longer."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 4 :]}"
