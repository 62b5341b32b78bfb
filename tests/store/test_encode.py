"""What a run becomes: the fast ways to write it say what the simple ones do."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

from bnsweep.config.groups import DataConfig, LrConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.store.encode import GroupTexts, record_text, yaml_text


def test_settings_that_are_written_group_by_group_are_those_of_the_whole_tree() -> None:
    rates = [LrConfig(1e-5 * k) for k in (1, 2, 3)]
    first = RunConfig(model=ModelConfig(hidden=(32,) * 9), data=DataConfig("callable", call="a:b", kwargs={"n": 1}))
    runs = [replace(first, lr=rate, seed=seed) for seed in (0, 5000, 2**31 - 1) for rate in rates]
    runs += [replace(first, lr=replace(rate)) for rate in rates]
    texts = GroupTexts()
    for run in runs * 2:
        assert texts.of(run) == yaml_text(asdict(run))


def test_no_more_texts_are_kept_than_groups_are_alive() -> None:
    texts = GroupTexts()
    for k in range(3000):  # each made and dropped, so that ids come again
        run = RunConfig(lr=LrConfig(1 + k / 7))
        assert f"value: {1 + k / 7}" in texts.of(run)


def test_a_password_of_the_stores_address_is_not_among_the_settings() -> None:
    run = RunConfig(tracking=TrackingConfig(uri="postgresql://me:hunter2@host/db"))
    assert "hunter2" not in GroupTexts().of(run) and "me:***@host" in GroupTexts().of(run)


def test_numbers_that_are_none_are_null_and_the_others_are_as_they_were() -> None:
    history = {"loss": [0.1, math.nan, math.inf], "score": [0.1, 0.2, 1 / 3]}
    tree = json.loads(record_text(RunRecord("finished", history=history, summary={"a": math.nan})))
    assert tree["history"] == {"loss": [0.1, None, None], "score": [0.1, 0.2, 1 / 3]} and tree["summary"] == {"a": None}
