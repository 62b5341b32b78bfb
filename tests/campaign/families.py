"""Families of inputs that users could give, each with whether it must be refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from bnsweep.config.tree import GROUPS, conf_folder, known_keys
from tests.campaign.tables import BAD, LEGAL, OPEN, OVERRIDES, VARIABLES
from tests.campaign.values import BAD_TEXTS, Expected, NoValue, meaning, sort_value

SWEEP = ("-m", "activation=sigmoid,tanh", "seed=range(0,2)")


@dataclass(frozen=True)
class Input:
    """A command in a folder of its own, and whether it must be refused."""

    expected: Expected
    reason: str
    arguments: tuple[str | bytes, ...]
    """Of python."""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    redirect: str = ""
    with_store: bool = True
    """Whether there is a database in the folder."""
    says: tuple[str, ...] = ()
    """Texts that the output of what is done must hold."""
    links: Mapping[str, str] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    """Files that must be there afterwards, whatever the exit status."""

    @property
    def label(self) -> str:
        words = [os.fsdecode(word) for word in self.arguments[1:]]
        texts = [f"{name}={value!r}" for name, value in self.variables.items()]
        texts += [*words, *([self.redirect] if self.redirect else []), *(f"with {name}" for name in self.files)]
        return " ".join(text if len(text) < 120 and text.isprintable() else ascii(text)[:120] for text in texts)

    def lay_out(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name, target in self.links.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(target)


def bnsweep(expected: Expected, reason: str, *words: str | bytes, **others: object) -> Input:
    return Input(expected, reason, ("-m", "bnsweep", *words), **others)  # type: ignore[arg-type]


def typed(key: str, text: str | bytes) -> str | bytes:
    """KEY=TEXT."""
    if isinstance(text, bytes):
        return key.encode() + b"=" + text
    return f"{key}={text.replace('KEY', key)}"


def keys() -> Iterator[Input]:
    """Every setting with every odd value, one run and a sweep by turns."""
    modes = cycle([("train=smoke",), (*SWEEP, "train=smoke")])
    for key in known_keys():
        for text in BAD_TEXTS.values():
            found = sort_value(key, text)
            mode = next(modes) if found.expected == BAD and "sweep of values" not in found.reason else ("train=smoke",)
            if any(str(word).startswith(f"{key}=") for word in mode) or key == "activation.name":
                mode = ("train=smoke",)
            words = [*mode, typed(key, text)]
            if "more than a machine" in found.reason:
                words.append("sweep.dry_run=true")
            yield bnsweep(found.expected, found.reason, *words)


def choices(group: str) -> set[str]:
    return {path.stem for path in (conf_folder() / group).glob("*.yaml")}


def groups() -> Iterator[Input]:
    """Every group with every odd value in place of a choice."""
    for group in GROUPS:
        for text in [*BAD_TEXTS.values(), "RELU", "relu/..", "/etc/passwd", "schema/run", "none.yaml", "lr/small"]:
            try:
                value = meaning(text)
            except NoValue as error:
                yield bnsweep(BAD, str(error), "train=smoke", typed(group, text))
                continue
            if isinstance(value, str) and value in choices(group):
                continue
            is_open = value in (None, "", "none", {})  # Hydra adds a dict of nothing
            yield bnsweep(OPEN if is_open else BAD, f"no choice of {group}", "train=smoke", typed(group, text))


def overrides() -> Iterator[Input]:
    """Settings given twice, unknown, added, deleted, and flags that are none."""
    for words, expected, reason in OVERRIDES:
        yield bnsweep(expected, reason, *words.split(), *([] if "smoke" in words else ["train=smoke"]))


REPEATED = b"a: &a [1, 1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 101)
)
YAMLS: dict[str, tuple[Expected, str, bytes]] = {
    "a choice": (LEGAL, "a choice of a user's own", b"value: 0.03\nschedule: cosine\n"),
    "another encoding": (BAD, "no UTF-8", "# caf\xe9\nvalue: 0.1\n".encode("latin-1")),
    "UTF-16": (OPEN, "YAML allows it", "value: 0.1\n".encode("utf-16")),
    "a byte order mark": (OPEN, "YAML allows it", b"\xef\xbb\xbfvalue: 0.1\n"),
    "a tab": (BAD, "YAML forbids it", b"value:\t0.1\n\tschedule: cosine\n"),
    "a syntax error": (BAD, "no YAML", b"value: [0.1\n"),
    "a brace": (BAD, "no YAML", b"value: 0.1\n}\n"),
    "a key given twice": (BAD, "given twice", b"value: 0.1\nvalue: 0.2\n"),
    "a list": (BAD, "no settings", b"- value: 0.1\n"),
    "a text": (BAD, "no settings", b"value\n"),
    "a number": (BAD, "no settings", b"3\n"),
    "nothing": (LEGAL, "nothing is changed", b""),
    "a comment": (LEGAL, "nothing is changed", b"# nothing\n"),
    "an unknown setting": (BAD, "unknown", b"valu: 0.1\n"),
    "a wrong type": (BAD, "no number", b"value: small\n"),
    "a rule broken": (BAD, "below 0", b"value: -1\n"),
    "null": (BAD, "no number", b"value: null\n"),
    "nan": (BAD, "no finite number", b"value: .nan\n"),
    "a nested list": (BAD, "no number", b"value: [[1]]\n"),
    "a number as a key": (BAD, "unknown", b"1: 2\n"),
    "a null as a key": (BAD, "unknown", b"null: 2\n"),
    "a list as a key": (BAD, "unknown", b"[1, 2]: 2\n"),
    "an interpolation to nothing": (BAD, "no value", b"value: ${nope.x}\n"),
    "an interpolation left open": (BAD, "no value", b"value: ${nope\n"),
    "a missing value": (BAD, "no value", b"value: ???\n"),
    "an object": (BAD, "no object is made", b"value: !!python/object/apply:os.getcwd []\n"),
    "an unknown tag": (BAD, "no such tag", b"value: !nope 1\n"),
    "two documents": (BAD, "one is wanted", b"value: 0.1\n---\nvalue: 0.2\n"),
    "an unknown anchor": (BAD, "no such anchor", b"value: *a\n"),
    "an anchor of itself": (BAD, "endless", b"value: &a [*a]\n"),
    "a zero byte": (BAD, "no YAML", b"value: 0.1\0\n"),
    "bytes": (BAD, "no YAML", bytes(range(128, 256))),
    "deep brackets": (BAD, "no number", b"value: " + b"[" * 5000 + b"]" * 5000),
    "a default that is missing": (BAD, "no such choice", b"defaults:\n  - nope\nvalue: 0.1\n"),
    "itself among the defaults": (BAD, "endless", b"defaults:\n  - mine\nvalue: 0.1\n"),
    "defaults that are no list": (BAD, "no list", b"defaults: 3\nvalue: 0.1\n"),
    "defaults of null": (OPEN, "none", b"defaults: null\nvalue: 0.1\n"),
    "a package of nothing": (BAD, "unknown", b"# @package nope\nvalue: 0.1\n"),
    "anchors that multiply": (BAD, "unknown", REPEATED),
}


def user_files() -> Iterator[Input]:
    """A choice of a user's own, found by --config-dir, that is broken; and folders that are none."""
    words = ("--config-dir", "own", "train=smoke", "lr=mine")
    for label, (expected, reason, content) in YAMLS.items():
        yield bnsweep(expected, f"{label}: {reason}", *words, files={"own/lr/mine.yaml": content})
        if expected == BAD:
            yield bnsweep(
                BAD, f"{label}: {reason}", *SWEEP[:1], *words, *SWEEP[1:], files={"own/lr/mine.yaml": content}
            )
    yield bnsweep(BAD, "a folder", *words, files={"own/lr/mine.yaml/x": b""})
    yield bnsweep(BAD, "a link to nothing", *words, links={"own/lr/mine.yaml": "nowhere"})
    yield bnsweep(BAD, "a link to itself", *words, links={"own/lr/mine.yaml": "mine.yaml"})
    yield bnsweep(BAD, "a file", *words, files={"own": b""})
    primary = {"own/config.yaml": b"value: [\n"}
    yield bnsweep(BAD, "no YAML", "--config-name", "config", "--config-path", "own", files=primary)


ARRAYS = "import numpy as np\ndef load():\n    return {}, {}\n"
ONES, LABELS = "np.ones((500, 3))", "np.arange(500) % 2"
FUNCTIONS: dict[str, tuple[Expected, bytes | str]] = {
    "raises": (BAD, "def load():\n    raise RuntimeError('no\\nsuch luck')\n"),
    "raises nothing in particular": (BAD, "def load():\n    raise Exception\n"),
    "ends the process": (BAD, "import sys\ndef load():\n    sys.exit(0)\n"),
    "ends the process at import": (BAD, "import sys\nsys.exit(0)\n"),
    "has a syntax error": (BAD, "def load(:\n"),
    "has another encoding": (BAD, b"# caf\xe9\ndef load():\n    pass\n"),
    "imports what is not there": (BAD, "import nope_nope\n"),
    "wants an argument": (BAD, "def load(x):\n    return x\n"),
    "gives nothing": (BAD, "def load():\n    pass\n"),
    "is a number": (BAD, "load = 3\n"),
    "recurses": (BAD, "def load():\n    return load()\n"),
    "gives three parts": (BAD, "def load():\n    return 1, 2, 3\n"),
    "gives a generator": (BAD, "def load():\n    yield 1\n"),
    "gives no samples": (BAD, ARRAYS.format("np.zeros((0, 3))", "np.zeros(0, int)")),
    "gives one class": (BAD, ARRAYS.format(ONES, "np.zeros(500, int)")),
    "gives nan": (BAD, ARRAYS.format("np.full((500, 3), np.nan)", LABELS)),
    "gives labels below 0": (BAD, ARRAYS.format(ONES, f"{LABELS} - 1")),
    "gives texts": (BAD, ARRAYS.format("np.full((500, 3), 'a')", LABELS)),
    "gives too few labels": (BAD, ARRAYS.format(ONES, "np.arange(499) % 2")),
    "prints": (LEGAL, "print('hello')\n" + ARRAYS.format("np.random.RandomState(0).rand(500, 3)", LABELS)),
}


def functions() -> Iterator[Input]:
    """Data of a user's own that are none."""
    for label, (expected, content) in FUNCTIONS.items():
        words = ("train=smoke", "data=callable", "data.call=my_data:load", "data.validation=100")
        yield bnsweep(
            expected,
            f"the function {label}",
            *words,
            files={"my_data.py": content.encode() if isinstance(content, str) else content},
        )


def report() -> Iterator[Input]:
    """The report of a store without a sweep is refused whatever is asked."""
    reasons = "there is no sweep"
    for key in ("sweep", "metric", "out", "tracking.uri", "tracking.experiment", "nope", ""):
        for text in BAD_TEXTS.values():
            yield Input(BAD, reasons, ("-m", "bnsweep.report", typed(key, text)), with_store=key in ("sweep", "out"))
    for word in (
        "latest",
        "-x",
        "--nope",
        "=",
        "out",
        "sweep=a,b",
        "sweep=a,b,c",
        "sweep=,",
        "sweep=a/b/c",
        "~out",
        "",
    ):
        yield Input(BAD, reasons, ("-m", "bnsweep.report", word))
    yield Input(LEGAL, "help is help", ("-m", "bnsweep.report", "--help", "nope"))


def experiments() -> Iterator[Input]:
    """Named experiments that are none, and settings that are none."""
    for key, reason in (("out", "no folder"), ("form", "no form")):
        for text in ("", "/proc/nope", "/dev/null/x", "a" * 300):
            yield Input(BAD, reason, ("-m", "bnsweep.experiments", "mean-field-chi", f"{key}={text}"))
    for word in ("nope", "--nope", "-x", "+experiment=lecture", "", "../lecture", "/etc/passwd", "mean-field-chi.yaml"):
        yield Input(BAD, "no such experiment", ("-m", "bnsweep.experiments", word))
    yield Input(LEGAL, "help is help", ("-m", "bnsweep.experiments", "--help", "nope"))
    yield Input(LEGAL, "a list", ("-m", "bnsweep.experiments", "--list"))
    for key in (
        "lr.value",
        "seed",
        "train.batch_size",
        "model.dropout",
        "bn.momentum",
        "data.validation",
        "bn",
        "nope",
    ):
        for text in BAD_TEXTS.values():
            expected = BAD if key in (*GROUPS, "nope") else sort_value(key, text).expected
            is_sweep = isinstance(text, str) and ("," in text or text.startswith(("range", "glob", "sort")))
            if expected == BAD and not (is_sweep or text in ("null", "")):
                yield Input(BAD, "no value", ("-m", "bnsweep.experiments", "mean-field-chi", typed(key, text)))


def variables() -> Iterator[Input]:
    """Variables of the environment, and where the output goes, for a sweep with its report."""
    for expected, reason, given in VARIABLES:
        yield bnsweep(expected, reason, *SWEEP, "train=smoke", variables=given)
    for redirect in (">/dev/full", "2>/dev/full", ">&-", "2>&-", ">&- 2>&-", "<&-", "| head -1 >&2"):
        words, left = (*SWEEP, "train=smoke"), ("report/ranking.csv", "report/report.html")
        yield bnsweep(OPEN, "the work is done whoever reads", *words, redirect=redirect, leaves=left)


FAMILIES: dict[str, Callable[[], Iterator[Input]]] = {
    "keys": keys,
    "groups": groups,
    "overrides": overrides,
    "files": user_files,
    "functions": functions,
    "report": report,
    "experiments": experiments,
    "variables": variables,
}
