"""Families of inputs that users could give, each with whether it must be refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from bnsweep.config.tree import GROUPS, conf_folder, known_keys
from tests.campaign.values import BAD_TEXTS, Expected, NoValue, meaning, sort_value

BAD, LEGAL, OPEN = Expected.BAD, Expected.LEGAL, Expected.OPEN
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
    for words, expected, reason in (
        ("seed=1 seed=2", BAD, "given twice"),
        ("seed=1 +seed=2", BAD, "given twice"),
        ("bn=none bn=before", BAD, "given twice"),
        ("+seed=1", BAD, "it is there already"),
        ("++seed=1", LEGAL, "Hydra's way to say it"),
        ("~seed", OPEN, "its default is left"),
        ("~bn", OPEN, "the schema's default is left"),
        ("~nope", BAD, "nothing to delete"),
        ("~", BAD, "nothing to delete"),
        ("+nope=1", BAD, "unknown"),
        ("++nope.x.y=1", BAD, "unknown"),
        ("nope=1", BAD, "unknown"),
        ("seed.x=1", BAD, "unknown"),
        ("lr=small lr.nope=1", BAD, "unknown"),
        ("=1", BAD, "no key"),
        ("seed", BAD, "no value"),
        ("relu", BAD, "no key"),
        ("--nope", BAD, "no flag"),
        ("-x", BAD, "no flag"),
        ("--config-name nope", BAD, "no such file"),
        ("--config-dir nope", BAD, "no such folder"),
        ("-cn nope", BAD, "no such file"),
        ("--cfg nope", BAD, "no such part"),
        ("--package nope --cfg job", BAD, "no such part"),
        ("--cfg job", LEGAL, "shows the settings"),
        ("--cfg job lr.value=${nope.x} --resolve", BAD, "an interpolation to nothing"),
        ("train=smoke -m bn=none,before", OPEN, "a flag after settings"),
        ("train=smoke --config-dir nope bn=none", BAD, "a flag after settings, and no such folder"),
        ("-m", LEGAL, "one run"),
        ("+experiment=nope", BAD, "no such experiment"),
        ("experiment=lecture", BAD, "is added with a plus"),
        ("hydra/launcher=nope", BAD, "no such launcher"),
        ("hydra/sweeper=nope -m", BAD, "no such sweeper"),
        ("hydra.nope=1", BAD, "unknown"),
        ("hydra.verbose=nope", OPEN, "a logger of that name could be there"),
        ("hydra.verbose=[[1]]", BAD, "no logger"),
        ("hydra.run.dir=", BAD, "no folder"),
        ("hydra.run.dir=/proc/nope", BAD, "cannot be made"),
        ("hydra.run.dir=/dev/null/x", BAD, "cannot be made"),
        ("hydra.run.dir=" + "a" * 300, BAD, "cannot be made"),
        ("hydra.run.dir=${nope.x}", BAD, "an interpolation to nothing"),
        ("-m bn=none,before hydra.sweep.dir=", BAD, "no folder"),
        ("-m bn=none,before hydra.sweep.dir=/proc/nope", BAD, "cannot be made"),
        ("-m bn=none,before hydra.sweep.subdir=/proc/nope", BAD, "cannot be made"),
        ("-m bn=none,before hydra.sweep.subdir=/dev/null/x", BAD, "cannot be made"),
        ("-m bn=none,before hydra.sweep.subdir=" + "a" * 300, BAD, "cannot be made"),
        ("-m bn=none,before hydra.sweep.subdir=${nope.x}", BAD, "an interpolation to nothing"),
        ("-m bn=none,before hydra.sweep.subdir=" + "/".join(["a" * 200] * 30), BAD, "cannot be made"),
        ("-m bn=none,before sweep.report=/proc/nope", BAD, "cannot be made"),
        ("-m bn=none,before sweep.report=" + "a" * 300, BAD, "cannot be made"),
        ("-m bn=none,before sweep.report=", BAD, "no folder"),
        ("-m bn=none,before sweep.report=null", LEGAL, "no report"),
        ("-m bn=none,before hydra.output_subdir=null", LEGAL, "Hydra's way to leave it out"),
        ("-m bn=none,before hydra.output_subdir=/proc/nope", BAD, "cannot be made"),
        ("-m bn=none,before hydra.job.chdir=true", LEGAL, "paths are of where the command was started"),
        ("hydra.job.chdir=true", LEGAL, "paths are of where the command was started"),
        ("-m seed=range(0,1000000)", BAD, "more than can be done"),
        ("-m seed=range(0,1e12)", BAD, "more than can be done"),
        ("-m seed=range(0,3000) lr.value=range(1,3000) train.epochs=range(1,3000)", BAD, "more than can be done"),
        ("-m seed=range(0,0)", BAD, "no jobs"),
        ("-m bn=", BAD, "no choice"),
        ("-m bn=none,", BAD, "a trailing comma"),
        ("-m bn=none,,before", BAD, "an empty value"),
        ("-m bn=none,nope", BAD, "no choice"),
        ("-m seed=0,0", OPEN, "one value twice"),
        ("-m seed=0,-1", BAD, "a value below 0"),
        ("-m model.hidden=100,100,100", BAD, "numbers in place of lists"),
        ("-m model.hidden=[8],[8,8]", LEGAL, "two lists"),
        ("-m tracking.experiment=a,b", BAD, "one for the whole sweep"),
        ("-m sweep.id=a,b", BAD, "one for the whole sweep"),
        ("-m train.device=cpu,auto", OPEN, "one for the whole sweep"),
        ("-m lr.value=interval(0,1)", BAD, "no grid"),
        ("-m hydra.sweeper.params=3", BAD, "no settings"),
        ("-m hydra.sweeper.params.seed=0,1", OPEN, "a sweep inside a sweep"),
        ("-m +hydra.sweeper.params.nope=1", BAD, "unknown"),
        ("-m hydra.sweeper.max_batch_size=1", BAD, "all runs are checked before any is trained"),
        ("train.epochs=1000000000000 sweep.dry_run=true", OPEN, "planned or refused"),
        ("train.steps=1000000000000 train.evaluate_steps=1", BAD, "more evaluations than can be kept"),
        ("model.depth=1000000000", BAD, "more than fits"),
        ("model.hidden=[1000000000]", BAD, "more than fits"),
        ("model.hidden=[1000000,1000000]", BAD, "more than fits"),
        ("tracking.uri=sqlite:///", BAD, "no file"),
        ("tracking.uri=sqlite:////proc/nope.db", BAD, "cannot be written"),
        ("tracking.uri=sqlite:///:memory:", BAD, "no file"),
        ("tracking.uri=sqlite:///.", BAD, "a folder"),
        ("tracking.uri=http://", BAD, "no server"),
        ("tracking.uri=http://127.0.0.1:1", BAD, "no server"),
        ("tracking.uri=http://127.0.0.1:99999", BAD, "no port"),
        ("tracking.uri=http://[::1", BAD, "no address"),
        ("tracking.uri=file:///tmp/x", BAD, "MLflow has given folders up"),
        ("tracking.uri=postgresql://127.0.0.1:1/x", BAD, "no server"),
        ("tracking.uri=mysql://127.0.0.1:1/x", BAD, "no server"),
        ("tracking.uri=mssql://127.0.0.1:1/x", BAD, "no server"),
        ("tracking.uri=databricks", BAD, "no store of ours"),
        ("tracking.uri=http://me:secret@127.0.0.1:1", BAD, "a password in sight"),
        ("data=callable", BAD, "no function"),
        ("data=callable data.call=nope:load", BAD, "no module"),
        ("data=callable data.call=os:nope", BAD, "no function"),
        ("data=callable data.call=os:getcwd", BAD, "no data"),
        ("data=callable data.call=sys:exit", BAD, "no data"),
        ("data=callable data.call=os.path:sep", BAD, "no function"),
        ("data=callable data.call=:", BAD, "no function"),
        ("data=callable data.call=..:x", BAD, "no module"),
    ):
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
    long = "x" * 120
    for expected, reason, given in (
        (LEGAL, "figures have their own backend", {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
        (LEGAL, "figures have their own backend", {"MPLBACKEND": "nope"}),
        (LEGAL, "figures have their own backend", {"MPLBACKEND": "TkAgg", "DISPLAY": ""}),
        (LEGAL, "a cache can be elsewhere", {"MPLCONFIGDIR": "/proc/nope"}),
        (LEGAL, "texts are said otherwise", {"PYTHONIOENCODING": "ascii"}),
        (LEGAL, "texts are said otherwise", {"PYTHONIOENCODING": "latin-1"}),
        (LEGAL, "texts are said otherwise", {"PYTHONIOENCODING": "cp1252"}),
        (LEGAL, "texts are said otherwise", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (LEGAL, "texts are said otherwise", {"LC_ALL": "nope", "LANG": "nope"}),
        (OPEN, "a number of threads that is none", {"OMP_NUM_THREADS": "x"}),
        (OPEN, "a number of threads that is none", {"OMP_NUM_THREADS": "0"}),
        (OPEN, "a number of threads that is none", {"OMP_NUM_THREADS": "-1"}),
        (OPEN, "a number of threads that is none", {"OMP_NUM_THREADS": ""}),
        (OPEN, "more threads than there are", {"OMP_NUM_THREADS": "100000000000"}),
        (OPEN, "a list of numbers of threads", {"OMP_NUM_THREADS": "2,1"}),
        (OPEN, "no such folder", {"TMPDIR": "/nope"}),
        (OPEN, "no folder", {"TMPDIR": "/dev/null"}),
        (OPEN, "nothing can be written there", {"TMPDIR": "/proc"}),
        (OPEN, "no folder is named", {"TMPDIR": ""}),
        (OPEN, "no such folder", {"TMPDIR": "/nope", "OMP_NUM_THREADS": "2"}),
        (OPEN, "a name too long for a socket", {"TMPDIR": f"/tmp/{long}", "OMP_NUM_THREADS": "2"}),
        (BAD, "no such store", {"MLFLOW_TRACKING_URI": "ftp://nope"}),
        (BAD, "no such store", {"MLFLOW_TRACKING_URI": "nope"}),
        (BAD, "no such store", {"MLFLOW_TRACKING_URI": "file:///tmp/nope"}),
        (BAD, "no such server", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}),
        (BAD, "no such server", {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:1"}),
        (OPEN, "no store is named", {"MLFLOW_TRACKING_URI": ""}),
        (LEGAL, "a name", {"MLFLOW_EXPERIMENT_NAME": "mine"}),
        (OPEN, "no name", {"MLFLOW_EXPERIMENT_NAME": ""}),
        (OPEN, "no such experiment", {"MLFLOW_EXPERIMENT_ID": "99"}),
        (OPEN, "no such run", {"MLFLOW_RUN_ID": "99"}),
        (LEGAL, "a terminal without a width", {"COLUMNS": "0"}),
        (LEGAL, "a terminal without a width", {"COLUMNS": "-5"}),
        (LEGAL, "a terminal of one column", {"COLUMNS": "1"}),
        (LEGAL, "no terminal", {"TERM": "nope"}),
        (LEGAL, "no home", {"HOME": "/nope"}),
        (LEGAL, "no home", {"HOME": None}),
        (LEGAL, "no time zone", {"TZ": "nope/nope"}),
        (LEGAL, "a date", {"SOURCE_DATE_EPOCH": "0"}),
        (OPEN, "no date", {"SOURCE_DATE_EPOCH": "x"}),
        (LEGAL, "no device is wanted", {"CUDA_VISIBLE_DEVICES": "nope"}),
        (LEGAL, "no programs", {"PATH": "/nope"}),
        (OPEN, "Hydra's own errors", {"HYDRA_FULL_ERROR": ""}),
        (LEGAL, "no docstrings", {"PYTHONOPTIMIZE": "2"}),
        (LEGAL, "warnings are shown", {"PYTHONWARNINGS": "default"}),
    ):
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
