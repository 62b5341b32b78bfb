"""A level of the factor `bn` says kind and place in one, and gives both back."""

from __future__ import annotations

import pytest

from bnsweep.catalogue.norms import LEVELS, as_typed, kind_and_place, level
from bnsweep.report.frame.grid import placement_text


@pytest.mark.parametrize("of_run", LEVELS)
def test_a_level_gives_back_the_kind_and_the_place_that_it_was_made_of(of_run: str) -> None:
    assert level(*kind_and_place(of_run)) == of_run


@pytest.mark.parametrize(
    ("of_run", "typed", "text"),
    [
        ("none", "bn=none", "no BN"),
        ("after", "bn=after", "BN after"),
        ("group before", "norm=group bn=before", "GroupNorm before"),
        ("weight", "norm=weight", "WeightNorm"),
    ],
)
def test_a_level_as_settings_and_as_text(of_run: str, typed: str, text: str) -> None:
    assert (as_typed(of_run), placement_text(of_run)) == (typed, text)
