"""The group that says which normalisation stands where `bn` places it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsweep.catalogue.norms import BATCH, NORM_CHOICES
from bnsweep.config.checks import OneOf, at_least, check, or_null
from bnsweep.config.fields import Checked, Role, said_elsewhere, setting
from bnsweep.config.groups import with_norm

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig

MOST_GROUPS, LEAST_IN_GROUP = 32, 8
"""Of the units of a layer, where norm.groups is null. 32 is the default of Wu & He 2018. Groups of four units made the
note's network chaotic on digits: a change of 1e-15 in its weights was 1e-6 after 60 steps, as it was not with eight."""


def with_groups(run: RunConfig) -> bool:
    return with_norm(run) and run.norm.name == "group"


def starts_at_0(run: RunConfig) -> bool:
    """Whether that is asked of a run that has a normalisation at the end of residual branches."""
    there = run.placement == "before" and run.skip.name == "on" and not run.model.preactivation
    return there and run.norm.zero_init_residual


@dataclass(frozen=True)
class NormConfig(Checked, group="norm"):
    name: str = setting(BATCH, OneOf(NORM_CHOICES), role=Role.FREE, names=True, matters=said_elsewhere)
    """Which normalisation stands where `bn` says. none: no normalisation; weight: of the hidden layers' weights
    (Salimans & Kingma 2016), which has no place. `bn` is left out with both."""
    groups: int | None = setting(None, or_null(at_least(1)), role=Role.FREE, matters=with_groups)
    """Of norm=group: groups that the units of each hidden layer are divided into; null: as many as there can be, up to
    32, of 8 units or more each."""

    zero_init_residual: bool = setting(False, role=Role.FREE, matters=starts_at_0)
    """Whether the scale of the last normalisation of each residual block starts at 0, so that the block starts as its
    shortcut (Goyal et al. 2017, arXiv 1706.02677, section 5.1). It stands there with bn=before."""

    def groups_of(self, units: int) -> int:
        """Groups of a layer of so many units."""
        if self.groups is not None:
            return self.groups
        most = max(1, min(MOST_GROUPS, units // LEAST_IN_GROUP))
        return next(groups for groups in range(most, 0, -1) if units % groups == 0)

    def check_fits(self, units: Sequence[int], positions: int) -> None:
        """Refuses what does not fit the hidden layers. `units`: of each; `positions`: numbers that a unit has of a
        sample, in the layer that has the fewest."""
        if positions == 1:
            names = ", ".join(name for name in NORM_CHOICES if name != "instance")
            says = f"one of {names} where a unit has one number a sample: instance normalisation is over the positions"
            check(self.name != "instance", "norm", self.name, f"{says} of an image or a signal")
            ok = self.name not in ("layer", "group") or min(units) > 1
            check(ok, "norm", self.name, "batch or rms where a hidden layer has one unit, which it would make 0")
        if self.name != "group" or self.groups is None:
            return
        wrong = next((n for n in units if n % self.groups), None)
        says = f"a number that divides the units of every hidden layer, of which one has {wrong}"
        check(wrong is None, "norm.groups", self.groups, f"{says} (left out, each layer gets groups that divide it)")
        says = f"less than {min(units)}, the units of a hidden layer: a group of one unit is "
        says += "always 0" if positions == 1 else "norm=instance"
        check(self.groups < min(units), "norm.groups", self.groups, says)
