"""One line for everything a command line can get wrong: Hydra says it over several and leaves out choices."""

from __future__ import annotations

import difflib
import re
import traceback
from pathlib import Path
from typing import Any

from bnsweep.catalogue.datasets import TABLE_SUFFIXES
from bnsweep.cli.quoting import shortened, unreadable
from bnsweep.config.checks import ConfigError
from bnsweep.config.tree import GROUPS, kind_of, known_keys

GROUP_VALUE = "Config group override must be a string"
"""How Hydra's ValueError begins for a number or a list where the name of a choice belongs."""

FOREIGN = ("hydra", "omegaconf", "yaml", "logging", "antlr4", "argparse")
"""Packages whose ValueErrors are about what they were given to read."""

NO_MEMORY = ("cannot allocate memory", "failed to map segment", "can't start new thread")
"""What imports and threads say under a limit on memory."""

INSIDE = re.compile(r"In '([^']+)': (?:(\w+) raised while composing config:\n)?(.*)", re.DOTALL)
"""How Hydra names the file whose content it refuses, without folder and ending."""


def one_line(error: BaseException, arguments: list[str]) -> str | None:
    """What a user is told of an error that a user can cause; None for any other. `arguments`: the command line."""
    if isinstance(error, ConfigError):
        return str(error)
    text = None if out_of_memory(error) else of_a_kind(error, arguments)
    return None if text is None else " ".join(filter(None, (line.strip() for line in text.splitlines())))


def of_a_kind(error: BaseException, arguments: list[str]) -> str | None:
    """The text for an error of Hydra, of OmegaConf, or from reading a file of YAML."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    file = local_of(error, "load_config", "full_path")
    match error:
        case OverrideParseException():
            return unreadable(error.override, str(error), bool({"-m", "--multirun"} & set(arguments)))
        case YAMLError():
            return unreadable_yaml(error, file)
        case UnicodeDecodeError() if file:
            line = error.object[: error.start].count(b"\n") + 1
            return f"{file}, line {line}: must be UTF-8 (byte 0x{error.object[error.start]:02x} is not)"
        case RecursionError() if file or from_reading(error):
            return f"{file or 'a setting'}: must not be nested so deeply, or hold itself"
        case HydraException():
            if not str(error):
                return f"{file or 'a setting'}: must be readable ({error.__cause__ or error.__context__})"
            return of_hydra(str(error), error.__cause__, arguments)
        case OmegaConfBaseException():
            return of_omegaconf(error, file or next((text for text in arguments if "${" in text), None))
    return of_reading(error, file, arguments)


def of_reading(error: BaseException, file: str | None, arguments: list[str]) -> str | None:
    """The text for an error of a common kind from what reads the user's input."""
    if str(error).startswith(GROUP_VALUE):
        return group_given_a_value(arguments)
    if (isinstance(error, OSError) and error.strerror) or not from_reading(error):
        return None
    if file:
        return f"{file}: must hold settings, KEY: VALUE in each line ({' '.join(str(error).split())})"
    kind = "" if isinstance(error, ValueError) and str(error) else f"{type(error).__name__}:"
    return " ".join(filter(None, (kind, str(error), in_brackets(error.__cause__))))


def out_of_memory(error: BaseException) -> bool:
    """Whether it comes from too little memory, of which an import may say something else."""
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in NO_MEMORY)


def local_of(error: BaseException, function: str, name: str) -> Any:
    """A local variable of a function of Hydra's that the error came through: what the error itself does not say."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == function and name in frame.f_locals:
            found = frame.f_locals[name]
    return found


def from_reading(error: BaseException) -> bool:
    """Whether it was raised by a package that reads what users write, or while Hydra composed it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    composing = any(frame.f_code.co_name == "load_configuration" for frame in frames)
    return composing or (bool(frames) and str(frames[-1].f_globals.get("__name__")).partition(".")[0] in FOREIGN)


def in_brackets(cause: BaseException | None) -> str:
    return "" if cause is None else f"({' '.join(str(cause).split())})"


def unreadable_yaml(error: Any, file: str | None) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{mark.name if mark else file or getattr(error, 'name', '?')}{f', line {mark.line + 1}' if mark else ''}"
    parts = (getattr(error, "context", None), getattr(error, "problem", None) or getattr(error, "reason", None))
    return f"{place}: must be YAML ({', '.join(filter(None, parts)) or str(error).splitlines()[0]})"


def of_hydra(text: str, cause: BaseException | None, arguments: list[str]) -> str:
    """The text of one of Hydra's errors, and its cause, where Hydra leaves the reason."""
    # The folders that Hydra searched help nobody who mistyped a choice.
    text = re.split(r"(?:Config )?[Ss]earch path:", text)[0].strip()
    if override := re.match(r"Error merging override (.*)", text, re.DOTALL):
        return not_merged(override[1], str(cause or "").partition("\n")[0])
    if ambiguous := re.match(r"Ambiguous value for argument '(.+)'\n", text):
        return without_multirun(ambiguous[1])
    if sweep := re.match(r"Sweep parameters '(.+)' requires --multirun", text):
        return f"{sweep[1]}: several values need --multirun (-m)"
    if unknown := re.match(r"Could not override '([^']+)'", text):
        return no_such_setting(getattr(cause, "full_key", None) or unknown[1])
    if own := re.search(r"Could not find '(activation|init)/", text):
        text += f"; or a function of yours: {own[1]}.name=module:function"
    if data := re.search(r"Could not find 'data/(.*?)'", text):
        text += file_hint(data[1])
    if inside := INSIDE.match(text):
        return in_file(inside[1], inside[3], arguments) or text
    return text


def file_hint(name: str) -> str:
    """How a file, or a folder of images, is named; empty for what is none."""
    suffix = Path(name).suffix.lower()
    if suffix == ".npz":
        return f" (a file is named by data=arrays data.file={name})"
    if suffix in TABLE_SUFFIXES:
        return f" (a file is named by data=table data.file={name} data.target=COLUMN)"
    return (
        f" (a folder of images is named by data=images data.root={name})" if "/" in name or Path(name).is_dir() else ""
    )


def not_merged(override: str, reason: str) -> str:
    """A value that is not of its setting's kind."""
    kind = kind_of(override.partition("=")[0].lstrip("+"))
    return f"{shortened(override)}: {f'must be {kind}' if kind else reason}"


def without_multirun(override: str) -> str:
    """Values with commas between them in a single run."""
    key, _, value = override.partition("=")
    if "list" in (kind_of(key) or "") and not value.startswith("["):
        return f"{shortened(override)}: must be in brackets, as in '{key}=[{shortened(value)}]'"
    return f"{shortened(override)}: several values need --multirun (-m)"


def no_such_setting(key: str) -> str:
    if key == "experiment":
        return "experiment: is added with a plus, as in +experiment=lecture"
    if key.startswith("hydra."):
        return f"{key}: no such setting of Hydra (--cfg hydra shows them)"
    near = difflib.get_close_matches(key, [*GROUPS, *known_keys()], n=3)
    near = near or [known for known in known_keys() if known.startswith(key)]
    return f"{key}: no such setting (choices: {', '.join(near or [*GROUPS, 'seed'])})"


def in_file(name: str, reason: str, arguments: list[str]) -> str | None:
    """What is wrong in a YAML file of the user's, with the file and the line; None for a file of ours, where the
    command line is at fault."""
    folder = folder_given(arguments)
    path = Path(folder or "", f"{name}.yaml")
    if folder is None or not path.is_file():
        return None
    key = re.search(r"full_key: (\S+)", reason)
    field = key[1].rpartition(".")[2] if key else ""
    line = line_of(field, path) if field else 0
    says = reason.partition("\n")[0]
    if says.startswith("Merge error"):
        return f"{path}: must hold settings, KEY: VALUE in each line ({says})"
    if key and re.search(r"Key '.*' not in", says):
        says = no_such_setting(key[1])
    elif key and (kind := kind_of(key[1])):
        says = f"{key[1]}: must be {kind} ({says})"
    return f"{path}{f', line {line}' if line else ''}: {says}"


def line_of(field: str, path: Path) -> int:
    """The first line of a YAML file that sets a field; 0 where none is found."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((n for n, text in enumerate(lines, start=1) if re.match(rf"\W*{re.escape(field)}\W*:", text)), 0)


def folder_given(arguments: list[str]) -> str | None:
    """That of --config-dir."""
    from hydra._internal.utils import get_args_parser

    folder: str | None = get_args_parser().parse_known_args(arguments)[0].config_dir
    return folder


def of_omegaconf(error: Any, file: str | None) -> str:
    """Of a value that is composed but cannot be read: missing, or a reference that leads nowhere."""
    from omegaconf import MissingMandatoryValue

    key, reason = error.full_key, (error.msg or str(error)).partition("\n")[0]
    if isinstance(error, MissingMandatoryValue):
        reason = f"must have a value ({kind_of(key or '') or 'it has none yet'})"
    return ": ".join(filter(None, (file, key, reason)))


def group_given_a_value(arguments: list[str]) -> str:
    """The line for GROUP_VALUE, from the command line that caused it."""
    for argument in arguments:
        group, equals, value = argument.partition("=")
        if group in GROUPS and equals and re.match(r"[-+.\d\[]|null$|true$|false$", value):
            return f"{argument}: {group} takes the name of a choice; a number goes to a field, as in lr.value=0.1"
    return f"{GROUP_VALUE}, as in lr=small"
