"""What to type next, for the store at hand."""

from __future__ import annotations

import shlex
from pathlib import Path

from bnsweep.config.run import TrackingConfig
from bnsweep.config.secrets import without_secrets
from bnsweep.store.address import address_of, default_experiment


def pages_command(tracking: TrackingConfig) -> str:
    """Opens MLflow's pages; empty for a tracking server, which has its own."""
    if address_of(tracking).uri.startswith("http"):
        return ""
    checkout = Path(__file__).resolve().parents[2]
    if tracking.uri is None and Path.cwd() == checkout and (checkout / "Makefile").is_file():
        return "make ui"
    return " ".join(["python -m bnsweep.ui", *uri_given(tracking)])


def report_command(tracking: TrackingConfig, sweep: str) -> str:
    """Writes the report of a sweep."""
    other = tracking.experiment != default_experiment()
    named = [f"tracking.experiment={shlex.quote(tracking.experiment)}"] if other else []
    return " ".join(["python -m bnsweep.report", f"sweep={sweep}", *uri_given(tracking), *named])


def uri_given(tracking: TrackingConfig) -> list[str]:
    return [] if tracking.uri is None else [f"tracking.uri={shlex.quote(without_secrets(tracking.uri))}"]
