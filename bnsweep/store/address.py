"""Which store is meant: by the settings, or by MLflow's own environment variables where the settings leave it open."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import TrackingConfig
from bnsweep.config.secrets import without_secrets

SQLITE = "sqlite:///"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
URI_VARIABLE, NAME_VARIABLE, ID_VARIABLE = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"
ARTIFACTS = "mlartifacts"
"""The folder of artifacts beside a database."""


@dataclass(frozen=True)
class Address:
    """Where a store is."""

    uri: str
    """The path of a sqlite file is absolute, so that no working directory gets a store of its own, and stands as it is:
    what else has a meaning in a URI has none in it."""
    setting: str = "tracking.uri"
    """Where the URI comes from: what an error has to name."""

    @property
    def path(self) -> Path | None:
        """The database file; None for a server."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None

    @property
    def artifacts(self) -> Path | None:
        """The folder of new runs' artifacts: beside a sqlite file, else in the working directory. None for a tracking
        server, which decides for itself."""
        if self.uri.startswith("http"):
            return None
        return (self.path.parent if self.path else Path.cwd()) / ARTIFACTS

    @property
    def for_mlflow(self) -> str:
        """The URI in which MLflow and SQLAlchemy find the same file, whatever characters its path has."""
        if self.path is None:
            return self.uri
        from sqlalchemy import URL

        # SQLAlchemy 2.1 unquotes a path and 2.0 does not; this form has the file's name quoted once for each reader.
        # With the driver named, MLflow does not make folders of the quoted text.
        name = f"file:{quote(os.fsencode(self.path))}"
        return URL.create("sqlite+pysqlite", database=name, query={"uri": "true"}).render_as_string()

    def check(self, rule: bool, says: str) -> None:
        """Raises ConfigError, which names the URI without its secrets, unless the rule holds."""
        if not rule:
            raise self.error(says)

    def error(self, says: str) -> ConfigError:
        """That the URI must be what `says` says."""
        shown = without_secrets(self.uri).encode(errors="backslashreplace").decode()
        return ConfigError(f"{self.setting}={shown}: must be {says}")

    @contextmanager
    def refused(self, says: str, *errors: type[Exception]) -> Iterator[None]:
        """Errors of these kinds, in the block, become the ConfigError that the URI must be what `says` says."""
        try:
            yield
        except ConfigError:
            raise
        except errors as error:
            raise self.error(f"{says} ({reason_of(error)})") from error


def address_of(config: TrackingConfig) -> Address:
    """Raises ConfigError for a URI that names no store that can be used here."""
    uri, variable = config.uri, os.environ.get(URI_VARIABLE)
    if uri is None and not variable:
        return checked_file(Path("mlflow.db").absolute(), "tracking.uri")
    given = Address(str(variable), URI_VARIABLE) if uri is None else Address(uri)
    scheme = given.uri.partition(":")[0].partition("+")[0]
    says = f"{SQLITE}PATH, postgresql://…, mysql://…, mssql://… or http(s)://… (MLflow has given up folders as stores)"
    given.check(scheme in SCHEMES and ":" in given.uri, says)
    if scheme != "sqlite":
        check_host(given)
        return given
    path = given.uri.removeprefix(SQLITE)
    given.check(given.uri.startswith(SQLITE) and path not in ("", ":memory:"), f"{SQLITE}PATH with the path of a file")
    given.check("?" not in path, f"{SQLITE}PATH without '?', which would begin options (or start the command in PATH)")
    given.check(not path.startswith("~"), f"{SQLITE}PATH without '~', which only a shell knows ($HOME stands for it)")
    return checked_file(Path(path).absolute(), given.setting)


def checked_file(path: Path, setting: str) -> Address:
    """Of a sqlite file; raises ConfigError for a name that no database can hold."""
    address = Address(f"{SQLITE}{path}", setting)
    # Python keeps bytes that are no UTF-8 as surrogates.
    legal = not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in str(path))
    address.check(legal, f"{SQLITE}PATH with a path in UTF-8")
    return address


def check_host(address: Address) -> None:
    """Raises ConfigError where the login of a URI is written so that parts of it would be taken for the host."""
    says = "a URI with a host (in a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23)"
    try:
        parts = urlsplit(address.uri)
        legal = parts.netloc.count("@") <= 1 and (parts.port or 1) > 0
    except ValueError:
        legal = False
    address.check(legal, says)


def default_experiment() -> str:
    """The experiment where no setting names one."""
    return os.environ.get(NAME_VARIABLE) or TrackingConfig.experiment


def origin(config: TrackingConfig, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What MLflow's environment variables have to do with where runs are kept, a line each."""
    uri, name = environment.get(URI_VARIABLE), environment.get(NAME_VARIABLE)
    lines = []
    if uri and config.uri is None:
        lines.append(f"tracking.uri: from {URI_VARIABLE}, {without_secrets(uri)}")
    elif uri and uri != config.uri:
        lines.append(f"{URI_VARIABLE} is not used: tracking.uri is given")
    if name and config.experiment == name:
        lines.append(f"tracking.experiment: from {NAME_VARIABLE}, {name}")
    elif name:
        lines.append(f"{NAME_VARIABLE} is not used: tracking.experiment is given")
    if environment.get(ID_VARIABLE):
        lines.append(f"{ID_VARIABLE} is not used: experiments are found by name ({config.experiment})")
    return lines


def reason_of(error: BaseException) -> str:
    """The innermost cause in one short line: the outer ones repeat it inside pages of retry settings."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
