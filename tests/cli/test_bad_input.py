"""Whatever is typed or stands in a YAML file: one line that names value and rule, and nothing left behind."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import refused

from bnsweep.cli import experiments
from bnsweep.cli.quoting import unreadable, value_read

pytestmark = pytest.mark.usefixtures("elsewhere")

REPO = Path(__file__).parents[2]
LONG = "a" * 300
CUT = "a" * 80


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def line(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line; everything else that was written is asserted to be nothing."""
    before = tree(Path.cwd())
    says = refused(arguments, monkeypatch)
    assert says.isprintable(), "one line, and nothing that a terminal obeys"
    assert len(says) < 2100
    assert capsys.readouterr() == ("", "")
    assert tree(Path.cwd()) == before
    return says


TYPED = [
    (["x"], "x: must be KEY=VALUE"),
    (["=3"], "=3: must be KEY=VALUE"),
    ([""], "'': must be KEY=VALUE"),
    (["a b=1"], "a b=1: must begin with the name of a setting"),
    (["seed=0,1,"], "seed=0,1,: must have a value on both sides of each comma"),
    (["lr.value="], "lr.value=: must be a number"),
    (["seed=1;2"], "seed=1;2: must be an integer"),
    (["seed=true"], "seed=true: must be an integer"),
    (["seed=null"], "seed=null: must be an integer"),
    (["seed=[1]"], "seed=[1]: must be an integer"),
    (["seed={a:1}"], "seed={a:1}: must be an integer"),
    (["seed=1e400"], "seed=1e400: must be an integer"),
    (["seed=" + "9" * 50], "must be between 0 and 2147483647"),
    (["seed=" + "9" * 5000], "must be a number that can be read"),
    (["bn.affine=maybe"], "bn.affine=maybe: must be true or false"),
    (["data.root=[a]"], "data.root=[a]: must be text"),
    (["data.root="], "data.root=: must be text (not empty, no control characters)"),
    (["data.root='a\nb'"], r"data.root=a\nb: must be text (not empty, no control characters)"),
    (["tracking.experiment='a\x1b[31mb'"], r"tracking.experiment='a\x1b[31mb': must be a name"),
    (["tracking.experiment='a\u202eb'"], r"tracking.experiment='a\u202eb': must be a name"),
    (["tracking.experiment=a\x9bb"], r"tracking.experiment=a\x9bb: must be without control characters"),
    (["sweep.report="], "sweep.report=: must be text (not empty, no control characters) or null"),
    ([f"sweep.report={LONG}"], f"sweep.report={CUT}"),
    ([f"lr.valu={LONG * 20}"], "lr.valu: no such setting (choices: lr.value"),
    (["model.hidden=[[3]]"], "model.hidden=[[3]]: must be a list of sizes >= 1"),
    (["model.hidden=[1.5]"], "model.hidden=[1.5]: must be a list of integers"),
    (["model.hidden=100"], "model.hidden=100: must be a list of integers, such as [32,32]"),
    (["data=images", "data.size=28"], "data.size=28: must be a list, such as [28,28] or null"),
    (["model.hidden=[100"], "model.hidden=[100: must close its brackets"),
    (["model.hidden=100,100"], "model.hidden=100,100: must be in brackets, as in 'model.hidden=[100,100]'"),
    (["-m", "model.hidden=100,100"], "model.hidden=100: must be a list of integers, such as [32,32]"),
    (["seed=0,1"], "seed=0,1: several values need --multirun (-m)"),
    (["seed=range(0,3)"], "seed=range(0,3): several values need --multirun (-m)"),
    (["bn=[before]"], "bn=[before]: bn takes the name of one choice, not a list"),
    (["bn=null"], "bn=null: bn takes the name of a choice"),
    (["bn={a:1}"], "bn.a: no such setting (choices: bn"),
    (["++lr=[1]"], "++lr=[1]: lr takes the name of one choice"),
    (["~nope"], "'nope' does not exist"),
    (["lr.value=${nope.x}"], "lr.value=${nope.x}: Interpolation key 'nope.x' not found"),
    (["lr.value=${nope"], "lr.value=${nope: must close its brackets"),
    (["lr.value=${lr.value}"], "lr.value=${lr.value}: Recursive interpolation detected"),
    (["lr.value=${oc.env:NOT_SET_AT_ALL}"], "Environment variable 'NOT_SET_AT_ALL' not found"),
    (["seed=???"], "seed: must have a value (an integer)"),
    (["lr.per_sample=???"], "lr.per_sample: must have a value (true or false)"),
    (["-m", "seed=???"], "seed: must have a value (an integer)"),
    (["--nope"], "unrecognized arguments: --nope"),
    (["-cn"], "argument --config-name/-cn: expected one argument"),
    (["--package", "nope", "--cfg", "job"], "--package nope: must be a part of the settings (choices: activation"),
    (["seed=1", "-m", "bn=none,before"], "flags such as -m come before all settings"),
    (["--config-name", "nope"], "Cannot find primary config 'nope'"),
    (["--config-dir", "nope"], "not found"),
    (["activation=mish"], "sigmoid silu tanh; or a function of yours: activation.name=module:function"),
    (["hydra/launcher=nope"], "Could not find 'hydra/launcher/nope'"),
    (["hydra.launcher.nope=1"], "hydra.launcher.nope: no such setting of Hydra"),
    (["-m", "hydra/launcher=stacked_ray", "hydra.launcher.workers=0"], "hydra.launcher.workers=0: must be >= 1 or"),
    (["-m", "hydra/launcher=stacked_ray", "hydra.launcher.nope=1"], "hydra.launcher.nope: no such setting of Hydra"),
    (
        ["-m", "hydra/launcher=stacked_submitit", "hydra.launcher.cluster=pbs"],
        "hydra.launcher.cluster=pbs: must be slurm, local or null",
    ),
    (["hydra.verbose=[1]"], "A logger name must be a string"),
    (["hydra.job.env_copy=[NOT_SET_AT_ALL]"], "NOT_SET_AT_ALL"),
    (["-m", "hydra.sweeper._target_=nope.X"], "Invalid plugin 'nope.X'"),
    (["--experimental-rerun", "x"], "--experimental-rerun: must be left out"),
    (["hydra.run.dir="], "hydra.run.dir=: must be the name of a folder"),
    (["-m", "hydra.sweep.dir="], "hydra.sweep.dir=: must be the name of a folder"),
    (["hydra.run.dir=/dev/null/x"], "/dev/null/x: must be a folder that can be written"),
    (["hydra.output_subdir=/dev/null/x"], "must be a folder that can be written"),
    (["hydra.job_logging.handlers.file.filename=/dev/null/x"], "Unable to configure handler 'file'"),
    (["-m", "seed=0,1", "hydra.sweep.dir=/dev/null/x"], "/dev/null/x: must be a folder that can be written"),
    (["-m", "seed=0,1", "hydra.sweep.subdir=/dev/null/x"], "/dev/null/x/.hydra: must be a folder that can be written"),
    (["-m", "seed=0,1", f"hydra.sweep.subdir={LONG}${{seed}}"], "(File name too long); hydra.sweep.dir and"),
    (["-m", "seed=0,1", "hydra.sweep.subdir=x"], "x/.hydra: must be of one job, is of jobs 0 and 1"),
    (["-m", "seed=0,1", "hydra.output_subdir=/dev/null/x"], "/dev/null/x: must be a folder that can be written"),
    (
        ["-m", "seed=range(0,1000000)"],
        "seed: must have fewer values: its 1,000,000 make 1,000,000 jobs",
    ),
    (["-m", "seed=range(0,1e12)"], "must have fewer values: its 1,000,000,000,000 make"),
    (
        ["-m", "seed=range(0,1000)", "lr.value=range(0.1,100,0.1)"],
        "seed: must have fewer values: its 1,000 make 999",
    ),
    (["-m", "seed=range(0,9,0)"], "seed=range(0,9,0): must have finite bounds and a step other than 0"),
    (["-m", "seed=range(0,inf)"], "seed=range(0,inf): must have finite bounds"),
    (["-m", "seed=interval(0,1)"], "seed=interval(0,1): must be a list of values, such as range(0,3)"),
    (["seed=auto"], "seed=auto: must be a number; auto is for a sweep (-m) of the stacked sweeper and launcher"),
    (["-m", "seed=auto", "train.batch_size=32,64"], "this grid asks no claim of the report (bn=none,before, say,"),
    (["-m", "seed=auto", "bn=none,before", "sweep.max_seeds=5"], "sweep.max_seeds=5: must be 6 or more: fewer seeds"),
    (["-m", "seed=auto", "bn=none,before", "sweep.report=null"], "sweep.report=null: must be a folder with seed=auto"),
    (["-m", "seed=auto", "bn=none,before", "data.seed=1,2"], "seed=auto: must be without data.seed=1,2: seeds that"),
    (["-m", "seed=auto", "bn=none,before", "hydra/launcher=basic"], "seed=auto: must be with hydra/launcher=stacked"),
    (["-m", "seed=auto,1", "bn=none,before"], "seed=auto: must be a number; auto is for a sweep (-m)"),
    (["-m", "seed=0,1", "sweep.shard=1/2"], "sweep.shard=1/2: must be null without sweep.id=NAME, the same on every"),
    (
        ["-m", "seed=0,1", "sweep.id=x", "sweep.shard=3/2"],
        "sweep.shard=3/2: must be I/N with whole numbers 1 <= I <= N",
    ),
    (
        ["-m", "seed=0,1", "sweep.id=x", "sweep.shard=3/3"],
        "must be of no more shards than the sweep has runs, which are",
    ),
    (
        ["-m", "seed=auto", "bn=none,before", "sweep.id=x", "sweep.shard=1/2"],
        "sweep.shard=1/2: must be null with",
    ),
    (["sweep.id=x", "sweep.shard=1/2"], "sweep.shard: must be left out of a single run, and with hydra/launcher=basic"),
    (["-m", "hydra/launcher=basic", "seed=0,1", "sweep.id=x", "sweep.shard=1/2"], "must be null with another launcher"),
    (["-m", "seed=choice()"], "seed=choice(): must be a sweep such as seed=range(0,10)"),
    (["-m", "hydra/launcher=basic", "lr.value=0.1,-1"], "bnsweep: lr.value=-1.0: must be a finite number > 0"),
    (["bn=before", "norm=none"], "norm=none: must be one of batch, layer, group, instance, rms with bn=before, or bn"),
    (
        ["bn.placement=after", "norm.name=none"],
        "norm=none: must be one of batch, layer, group, instance, rms with bn=a",
    ),
    (
        ["bn=none", "norm=group"],
        "norm=group: must be none, batch or weight with bn=none (bn=before and bn=after say w",
    ),
    (
        ["-m", "bn=before,after", "norm=none"],
        "norm=none: must be one of batch, layer, group, instance, rms with bn=bef",
    ),
    (["-m", "bn=before", "norm=none,group"], "with bn=before, or bn left out; sweep.invalid=skip leaves such jobs out"),
    (["-m", "hydra/launcher=basic", "bn=before", "norm=group,none"], "norm=none: must be one of batch, layer, group"),
    (
        ["norm=instance"],
        "norm=instance: must be one of none, batch, layer, group, rms, weight where a unit has one",
    ),
    (["data.root=/\udcff"], r"data.root=/\udcff: must be text in this terminal's encoding"),
    (["data=callable", "data.call=no_such_module:load"], "No module named 'no_such_module'"),
]


@pytest.mark.parametrize(("arguments", "says"), TYPED, ids=[" ".join(arguments)[:40] for arguments, _ in TYPED])
def test_bad_input_is_one_printable_line_and_leaves_nothing(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in line(arguments, monkeypatch, capsys)


YAML = {
    "value: [0.1\nschedule: x\n": "mine.yaml, line 2: must be YAML (while parsing a flow sequence",
    "value: 0.1\nvalue: 0.2\n": "mine.yaml, line 2: must be YAML (while constructing a mapping, found duplicate key",
    "value:\n\t0.1\n": "mine.yaml, line 2: must be YAML (while scanning for the next token",
    "value: 0.1\n---\nvalue: 0.2\n": "mine.yaml, line 2: must be YAML (expected a single document",
    "value: \0\n": "mine.yaml: must be YAML (special characters are not allowed)",
    "value: !!python/object:os.system x\n": "mine.yaml, line 1: must be YAML (could not determine a constructor",
    "value: *y\n": "mine.yaml, line 1: must be YAML (found undefined alias",
    "[1, 2]: 2\n": "mine.yaml, line 1: must be YAML (while constructing a mapping, found unhashable key)",
    "null: 2\n": "mine.yaml: must be readable (Incompatible key type",
    "3\n": "mine.yaml: must hold settings, KEY: VALUE in each line",
    "- 1\n- 2\n": "mine.yaml: must hold settings, KEY: VALUE in each line",
    "a: &a [*a]\n": "mine.yaml: must not be nested so deeply, or hold itself",
    "value: 0.1\nvalu: 3\n": "mine.yaml, line 2: lr.valu: no such setting (choices: lr.value",
    "value: abc\n": "mine.yaml, line 1: lr.value: must be a number",
    "value: ${nope\n": "mine.yaml: must be readable",
    "value: ${nope}\n": "lr.value: Interpolation key 'nope' not found",
    "value: -1\n": "lr.value=-1.0: must be a finite number > 0",
    "defaults: [nope]\n": "mine.yaml: Could not load 'lr/nope'",
    "defaults: 3\n": "Invalid defaults list in 'lr/mine'",
}


@pytest.mark.parametrize("text", YAML, ids=map(repr, YAML))
def test_a_yaml_file_that_cannot_be_read_is_named_with_the_line(
    text: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "own/lr").mkdir(parents=True)
    (elsewhere / "own/lr/mine.yaml").write_text(text)
    assert YAML[text] in line(["--config-dir", "own", "lr=mine"], monkeypatch, capsys)


@pytest.mark.parametrize(("encoding", "place"), [("latin-1", "line 2"), ("utf-16", "line 1")])
def test_a_yaml_file_in_another_encoding_is_named(
    encoding: str, place: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "own/lr").mkdir(parents=True)
    (elsewhere / "own/lr/mine.yaml").write_bytes("value: 0.1\n# é\n".encode(encoding))
    says = line(["--config-dir", "own", "lr=mine"], monkeypatch, capsys)
    assert f"mine.yaml, {place}: must be UTF-8" in says


@pytest.mark.parametrize(("name", "flags"), [("multirun", ["-m"]), ("outputs", []), ("report", ["-m"])])
def test_a_file_where_a_folder_belongs_is_refused_and_kept(
    name: str,
    flags: list[str],
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (elsewhere / name).write_text("mine")
    assert "must be a folder that can be written" in line([*flags, "seed=0"], monkeypatch, capsys)
    assert (elsewhere / name).read_text() == "mine"


@pytest.mark.parametrize(
    "value", ["/home/josé", "~/data", "a=b", "a'b", 'a"b', "a{b", "a(b", "a]b", "a#b", "a;b", "a,é", "é\\", " é "]
)
def test_the_quoted_form_that_is_offered_works(value: str) -> None:
    says = unreadable(f"data.root={value}", "")
    rule, _, offered = says.partition("must be quoted, for the shell and for Hydra: ")
    assert rule == f"data.root={value}: " and offered
    (typed,) = shlex.split(offered)
    assert value_read(typed) == value
    shell = subprocess.run(["sh", "-c", f"printf %s {offered}"], capture_output=True, text=True, check=True)
    assert shell.stdout == typed


def test_values_of_a_sweep_are_quoted_one_by_one() -> None:
    says = unreadable("data.root=/home/josé,/x", "", several=True)
    assert says.endswith("for Hydra: 'data.root=\"/home/josé\",/x'")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("mean-field-chi bn=1_000", "bn=1_000: bn takes the name of a choice"),
        ("mean-field-chi optimizer=[1]", "optimizer=[1]: optimizer takes the name of one choice"),
        ("mean-field-chi seed=range(0,1000000)", "seed: must have fewer values"),
        ("mean-field-chi lr.value=${nope.x}", "Interpolation key 'nope.x' not found"),
        ("mean-field-chi data.root=~/x", "must be quoted, for the shell and for Hydra"),
        ("mean-field-chi out=/dev/null/x", "out=/dev/null/x: must be a folder that can be written"),
    ],
)
def test_the_experiments_command_says_the_same(
    arguments: str, says: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bnsweep.experiments", *arguments.split()])
    with pytest.raises(SystemExit) as stop:
        experiments.main()
    text = str(stop.value.code)
    assert text.startswith("bnsweep.experiments: ") and says in text and text.isprintable()
    assert tree(elsewhere) == set()


def test_an_error_of_the_users_function_keeps_its_traceback(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(elsewhere.parent))
    monkeypatch.setattr("tempfile.tempdir", None)
    (elsewhere / "broken.py").write_text("def load():\n    raise ValueError('no data \\x1b[31mtoday')\n")
    says = line(["data=callable", "data.call=broken:load"], monkeypatch, capsys)
    assert r"no data \x1b[31mtoday" in says
    found = re.search(r"\(traceback in (.*)\)$", says)
    assert found is not None
    assert "line 2, in load" in Path(found[1]).read_text()


def test_little_memory_is_one_line(elsewhere: Path) -> None:
    """Under `ulimit -v`, torch cannot be imported."""
    command = f"ulimit -v 300000; exec {shlex.quote(sys.executable)} -m bnsweep -m seed=0,1"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(elsewhere.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", command], check=False, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bnsweep: out of memory") and done.stderr.count("\n") == 1, done.stderr
    assert tree(elsewhere) == set()


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert refused([], monkeypatch) == "bnsweep: the working directory must be there (No such file or directory)"
    monkeypatch.chdir(tmp_path)
