"""Which jobs a sweep has: zipped settings, evenly spaced values, and how many there may be."""

from __future__ import annotations

import pytest
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from bnsweep.config.checks import ConfigError
from hydra_plugins.bnsweep.spaced import register_functions
from hydra_plugins.bnsweep.sweeper import asks_auto, jobs_of, seeds_for, zipped_in


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known in the test alone."""
    monkeypatch.setattr(overrides_parser, "create_functions", overrides_parser.create_functions)
    register_functions()
    register_functions()  # once more changes nothing


def jobs(*texts: str, zipped: list[list[str]] | None = None) -> list[list[str]]:
    return jobs_of(OverridesParser.create().parse_overrides([*texts]), zipped or [])


def values(text: str) -> list[float]:
    return [float(job[0].partition("=")[2]) for job in jobs(text)]


def test_logspace_gives_powers_of_ten_written_short() -> None:
    assert jobs("lr.value=logspace(-3,1,5)") == [[f"lr.value={v}"] for v in ("0.001", "0.01", "0.1", "1.0", "10.0")]
    found = values("lr.value=logspace(-3,1,9)")
    assert found == pytest.approx([10 ** (-3 + i / 2) for i in range(9)], rel=1e-15) and found[::2] == [
        1e-3,
        1e-2,
        0.1,
        1,
        10,
    ]


def test_linspace_gives_both_ends() -> None:
    assert values("lr.value=linspace(0,1,5)") == [0, 0.25, 0.5, 0.75, 1]
    assert values("lr.value=linspace(2,3,1)") == [2]
    assert values("lr.value=linspace(1,0,2)") == [1, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr.value=logspace(1)", "missing a required argument"),
        ("lr.value=logspace(0,a,3)", "mismatch type"),
        ("lr.value=logspace(0,1,0)", "the number of values must be from 1 to 10,000, is 0"),
        ("lr.value=linspace(0,1,1000000)", "the number of values must be from 1 to 10,000"),
        ("lr.value=logspace(0,1000,3)", "exponents must be between -300 and 300"),
        ("lr.value=linspace(0,inf,3)", "both ends must be finite"),
        ("lr.value=0.1,logspace(-3,-2,3)", r"must be values, or one function such as range\(0,3\), not both"),
        ("seed=0,range(3,5)", r"seed=0,range\(3,5\): must be values, or one function such as range\(0,3\), not both"),
    ],
)
def test_what_is_no_such_sweep_is_said(text: str, says: str) -> None:
    with pytest.raises(HydraException, match=says):
        jobs(text)


def test_zipped_settings_go_together() -> None:
    found = jobs(
        "lr.value=0.1,1", "bn=none,before", "train.batch_size=16,32", zipped=[["lr.value", "train.batch_size"]]
    )
    assert found == [
        ["lr.value=0.1", "train.batch_size=16", "bn=none"],
        ["lr.value=0.1", "train.batch_size=16", "bn=before"],
        ["lr.value=1", "train.batch_size=32", "bn=none"],
        ["lr.value=1", "train.batch_size=32", "bn=before"],
    ]


def test_zipped_seeds_still_come_one_after_the_other() -> None:
    found = jobs("bn=none,before", "seed=range(0,3)", "data.seed=5,6,7", zipped=[["seed", "data.seed"]])
    assert [job[1:] for job in found[::2]] == [[f"seed={i}", f"data.seed={5 + i}"] for i in range(3)]


def test_zipped_settings_count_once() -> None:
    texts = ["lr.value=linspace(0,1,1000)", "train.batch_size=range(1,1001)"]
    with pytest.raises(HydraException, match="make 1,000,000 jobs"):
        jobs(*texts)
    assert len(jobs(*texts, zipped=[["lr.value", "train.batch_size"]])) == 1000


@pytest.mark.parametrize(
    ("zipped", "says"),
    [
        (
            ["lr.value", "bn"],
            "sweep.zip: must name settings with as many values as one another; lr.value has 3, bn has 2",
        ),
        (["lr.value", "init"], "sweep.zip: must name settings with several values in this sweep, init has one"),
        (["lr.value", "seed"], "sweep.zip: must name settings with several values in this sweep, seed has one"),
    ],
)
def test_what_does_not_fit_is_said(zipped: list[str], says: str) -> None:
    with pytest.raises(HydraException, match=f"^{says}$"):
        jobs("lr.value=1,2,3", "bn=none,before", "init=he", zipped=[zipped])


@pytest.mark.parametrize("given", [["lr.value", "bn"], [["lr.value"]], [[1, 2]], [["a", "b"], ["b", "c"]]])
def test_a_zip_is_a_list_of_lists_of_settings(given: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"^sweep.zip=\[.*\]: must be lists "):
        zipped_in(OmegaConf.create({"sweep": {"zip": given}}))


def test_auto_stands_for_the_first_seeds() -> None:
    assert seeds_for(["bn=none,before", "seed=auto"], 30) == ["bn=none,before", "seed=range(0,30)"]
    assert seeds_for(["++seed=auto", "init=he"], 7) == ["++seed=range(0,7)", "init=he"]
    assert asks_auto(["bn=none,before", "seed=auto"]) and asks_auto(["+seed=auto", "data.seed=3"])
    assert not asks_auto(["seed=range(0,3)", "data.seed=0,1", "data.call=auto"])


def test_auto_is_refused_beside_data_seeds() -> None:
    says = r"^seed=auto: must be without data\.seed=range\(0,3\): seeds that share a data seed are not independent$"
    with pytest.raises(ConfigError, match=says):
        asks_auto(["seed=auto", "data.seed=range(0,3)"])
