"""One line for everything a command line can get wrong: Hydra says it over several and leaves out choices."""

from __future__ import annotations

import difflib
import re

from bnsweep.config.tree import GROUPS, known_keys

GROUP_VALUE = "Config group override must be a string"
"""How Hydra's ValueError begins for a number or a list where the name of a choice belongs."""


def one_line(error: BaseException) -> str:
    """The error, with its cause where Hydra leaves the reason there, on one line."""
    text = str(error)
    cause = error.__cause__
    if cause is not None and str(cause).splitlines()[:1] and text.startswith("Error merging override"):
        text += f": {str(cause).splitlines()[0]}"
    # The folders that Hydra searched help nobody who mistyped a choice.
    text = " ".join(text.partition("Config search path")[0].split())
    ambiguous = re.match(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous:
        return f"{ambiguous[1]}: several values need --multirun (-m)"
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown[1]
        if key == "experiment":
            return "experiment: is added with a plus, as in +experiment=lecture"
        near = difflib.get_close_matches(key, [*GROUPS, *known_keys()], n=3) or [
            k for k in known_keys() if k.startswith(key)
        ]
        return f"{key}: no such setting (choices: {', '.join(near or [*GROUPS, 'seed'])})"
    return text


def group_given_a_value(arguments: list[str]) -> str:
    """The line for GROUP_VALUE, from the command line that caused it."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        if group in GROUPS and re.match(r"[-+.\d\[]", value):
            return f"{argument}: {group} takes the name of a choice; a number goes to a field, as in lr.value=0.1"
    return f"{GROUP_VALUE}, as in lr=small"
