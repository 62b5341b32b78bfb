"""From Python values to runs.

What a call asks for is written as settings and composed as a command's are, so that a run means the same whichever way
it was asked for.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from bnsweep.catalogue.own import is_own
from bnsweep.cli.quick_runs import QuickRuns
from bnsweep.cli.quoting import shortened, value_read
from bnsweep.config.cells import excluded, refused_text
from bnsweep.config.checks import ConfigError, check, printable
from bnsweep.config.run import RunConfig
from bnsweep.config.secrets import check_no_secret
from bnsweep.config.tree import GROUPS, conf_folder, kind_of, known_keys, register_schema

NUMBER_OF = {"lr": "lr.value"}
"""The setting that a number given for a group means."""

OWN_FUNCTIONS = ("activation", "init")
"""Groups whose choice may be the dotted path of a function of the user's."""

OWN = (
    "sweep.id",
    "sweep.dry_run",
    "sweep.report",
    "sweep.save_models",
    "sweep.rerun",
    "sweep.exclude",
    "sweep.zip",
    "sweep.invalid",
    "sweep.max_seeds",
    "sweep.shard",
)
"""Settings that arguments of their own stand for."""

COMPOSING = threading.Lock()
"""Hydra's store of configs holds the id of one sweep at a time."""


@dataclass(frozen=True)
class Wanted:
    """The runs of a call."""

    texts: list[str]
    """As settings of a command."""
    runs: list[RunConfig]
    notes: list[str]
    """Which were left out."""
    auto: bool = False
    """Whether the seeds are those of seed="auto": the first of them may be enough."""


def settings_of(given: Mapping[str, Any]) -> list[str]:
    """Groups and dotted keys with their values as Hydra writes them; several values of one are swept. Raises
    ConfigError."""
    texts = []
    for key, value in given.items():
        if isinstance(value, Mapping) and key in GROUPS:
            texts += settings_of({f"{key}.{name}": one for name, one in value.items()})
            continue
        check_known(key)
        if isinstance(value, range) and len(value) > 1 and not is_list(key):
            step = f",{value.step}" if value.step != 1 else ""
            texts.append(f"{key}=range({value.start},{value.stop}{step})")
            continue
        values = several(key, value)
        key = key_for(key, values)
        if not values:
            raise ConfigError(f"{key}: must have a value, has none (an empty list)")
        texts.append(f"{key}={','.join(encoded(key, one) for one in values)}")
    return texts


def key_for(key: str, values: Sequence[Any]) -> str:
    """The group whose choices the values name, or the setting of it that numbers and functions of the user's are values
    of. Raises ConfigError for what is neither."""
    if key in OWN_FUNCTIONS and any(isinstance(one, str) and is_own(one) for one in values):
        return f"{key}.name"
    strange = [one for one in values if not isinstance(one, str)] if key in GROUPS else []
    if not strange:
        return key
    if key in NUMBER_OF and len(strange) == len(values):
        return NUMBER_OF[key]
    names = "numbers or names of choices, not both" if key in NUMBER_OF else "the name of a choice"
    raise ConfigError(f"{key}={strange[0]}: must be {names}")


def check_known(key: str) -> None:
    """Raises ConfigError for what is neither a group nor a setting, or has an argument of its own."""
    if key not in GROUPS and key not in known_keys():
        near = difflib.get_close_matches(key, [*GROUPS, *known_keys()], n=3) or [*GROUPS, "seed"]
        raise ConfigError(f"{key}: no such setting (did you mean {', '.join(near)}?)")
    if key in OWN or key.startswith("tracking."):
        raise ConfigError(f"{key}: must be given by the argument of sweep() that stands for it")


def is_list(key: str) -> bool:
    """Whether one value of the setting is itself a list."""
    return "list" in (kind_of(key) or "") and key not in ("data.kwargs", "model.kwargs")


def several(key: str, value: Any) -> list[Any]:
    """The values of a setting: a list, range or array is swept, but for a setting that is a list itself, of which a
    list of lists is. Raises ConfigError for what is neither."""
    value = unpacked(value)
    if isinstance(value, Set) and not isinstance(value, KeysView):
        raise ConfigError(f"{key}: must be a value or a list of values, which has an order, is {type(value).__name__}")
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return [value]
    values = [unpacked(one) for one in value]
    lists = [isinstance(one, list | tuple) for one in values]
    if not is_list(key):
        check(not any(lists), key, short(values), "a value, or a list of values to sweep over")
    elif not any(lists):
        return [values]
    says = f"one list, as in {key}=[32, 32], or a list of lists to sweep over, as in {key}=[[32, 32], [64, 64]]"
    check(all(lists) or not is_list(key), key, short(values), says)
    return values


def unpacked(value: Any) -> Any:
    """An array, tensor or column, or a number of one, as Python's own."""
    if isinstance(value, range):
        return list(value)
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def short(values: Sequence[Any]) -> str:
    """Some values in an error."""
    return shortened(printable(str(values)))


def encoded(key: str, value: Any) -> str:
    """A value as Hydra reads it. Raises ConfigError for one that no setting holds."""
    from hydra.core.override_parser.types import Quote, QuotedString

    value = unpacked(value)
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{','.join(encoded(key, one) for one in value)}]"
        case Mapping():
            return "{" + ",".join(f"{name}:{encoded(key, one)}" for name, one in value.items()) + "}"
    text = str(value) if not isinstance(value, str) and hasattr(value, "__fspath__") else value
    if not isinstance(text, str):
        raise ConfigError(
            f"{key}: must be a number, a text, true or false, or a list of them, is {type(value).__name__}"
        )
    return text if value_read(f"k={text}") == text else QuotedString(text, Quote.double).with_quotes()


def composed(texts: Sequence[str], zipped: Sequence[Sequence[str]]) -> list[RunConfig | ConfigError]:
    """The run of each job, or what a rule says of it. Raises ConfigError. Hydra's own state is as before."""
    from hydra.core.singleton import Singleton

    from bnsweep.cli.messages import one_line

    check_no_secret(texts)
    with COMPOSING:
        before = Singleton.get_state()
        try:
            return composed_by_hydra(texts, zipped)
        except Exception as error:
            says = one_line(error, ["-m", *texts])
            if says is None:
                raise
            raise ConfigError(says) from error
        finally:
            Singleton.set_state(before)


def composed_by_hydra(texts: Sequence[str], zipped: Sequence[Sequence[str]]) -> list[RunConfig | ConfigError]:
    """Raises ConfigError, and Hydra's errors as such."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.plugins import Plugins
    from hydra.core.utils import setup_globals
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from hydra_plugins.bnsweep.compose import Composer
    from hydra_plugins.bnsweep.launcher import Jobs
    from hydra_plugins.bnsweep.overrides import check_duplicates
    from hydra_plugins.bnsweep.sweeper import jobs_of, zipped_in

    register_schema()
    setup_globals()
    Plugins.instance()
    check_duplicates(texts)
    zipped_in(OmegaConf.create({"sweep": {"zip": [list(group) for group in zipped]}}))
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    overrides = OverridesParser.create().parse_overrides([*texts])
    fixed = [text for text, o in zip(texts, overrides, strict=True) if not o.is_sweep_override()]
    master = loader.load_configuration("config", fixed, RunMode.MULTIRUN)
    OmegaConf.select(master, "hydra.sweep.dir")
    jobs = jobs_of(overrides, zipped)
    quick = QuickRuns(Jobs(Composer(loader, master, jobs), jobs, 0))
    return [run_or_error(quick, place) for place in range(len(jobs))]


def run_or_error(runs: QuickRuns, place: int) -> RunConfig | ConfigError:
    try:
        return runs.run(place)
    except ConfigError as error:
        return error.with_traceback(None)  # which would keep the job's config


def wanted(
    texts: Sequence[str],
    exclude: Sequence[Mapping[str, Any]],
    zipped: Sequence[Sequence[str]],
    invalid: str,
    most: int | None = None,
) -> Wanted:
    """The runs of these settings, without those that are to be left out; of seed=auto those of the most seeds. Raises
    ConfigError."""
    jobs, auto = with_seeds(texts, most)
    found = composed(jobs, zipped)
    runs = {job: run for job, run in enumerate(found) if isinstance(run, RunConfig)}
    errors = [error for error in found if isinstance(error, ConfigError)]
    if errors and (invalid != "skip" or not runs):
        remedy = "; invalid='skip' leaves such runs out" if runs else ""
        raise ConfigError(f"{errors[0]}{remedy}") from errors[0]
    out = excluded(runs, exclude)
    notes = [f"exclude leaves out {len(out):,} of {len(found):,} runs"] if out else []
    notes += refused_text([str(error) for error in errors])
    more = [f"sweep.exclude={encoded('sweep.exclude', list(exclude))}"] if exclude else []
    more += [f"sweep.zip={encoded('sweep.zip', [list(group) for group in zipped])}"] if zipped else []
    more += ["sweep.invalid=skip"] if invalid == "skip" else []
    more += [f"sweep.max_seeds={most}"] if most is not None else []
    return Wanted([*texts, *more], [run for job, run in runs.items() if job not in out], notes, auto)


def with_seeds(texts: Sequence[str], most: int | None) -> tuple[list[str], bool]:
    """The settings of the jobs that `seed=auto` may come to, and whether it is among them. Raises ConfigError."""
    from bnsweep.inference import looks_until
    from hydra_plugins.bnsweep.sweeper import asks_auto, seeds_for

    if not asks_auto(texts):
        check(most is None, "max_seeds", most, "left out where seed is not 'auto'")
        return list(texts), False
    most = RunConfig().sweep.max_seeds if most is None else most
    looks_until(most)
    return [*seeds_for(texts, most), f"sweep.max_seeds={most}"], True
