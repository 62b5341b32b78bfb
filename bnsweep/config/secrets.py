"""Passwords and tokens in what people type and in what is written down: found, refused and hidden."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from bnsweep.config.checks import ConfigError

NAMES = "password|passwd|passphrase|pwd|token|secret|credentials?|api[_-]?key|access[_-]?key|signature"
UP_TO_AT = r"([^@\n]*(?:@\S*)?)(?=@)"
"""A password; one that holds an @ itself goes to its last."""
SECRETS = (
    # A number after the host of a server is its port.
    re.compile(rf"""((?:(?<=http)|(?<=https))://[^\s/?#@:\[]*:)(?!\d{{1,5}}(?:[/?#\s'",)]|$)){UP_TO_AT}"""),
    re.compile(rf"((?<!http)(?<!https)://[^\s/?#@:\[]*:){UP_TO_AT}"),
    # A parameter of a URI's query, or a variable of that name; drivers nest them with = written %3D.
    re.compile(rf"((?<![\w.-])[\w.-]*(?:{NAMES})(?:=|%3D))([^\s&;'\"]+)", re.IGNORECASE),
    re.compile(r"([?&;](?:pass|key|auth|sig)=)([^\s&;'\"]+)", re.IGNORECASE),
)
"""What stands before a secret, and the secret."""
FROM_ENVIRONMENT = re.compile(r"(?:\$\{oc\.env:\w+\})+")
"""A reference to a variable is no secret, unless it names what to take where the variable is missing."""
REMEDY = (
    "without a password or token, which would be kept with every run: set MLFLOW_TRACKING_URI to the URI with it; for a"
    " server also MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; in a setting write"
    " ${oc.env:NAME} in its place"
)


def without_secrets(text: str) -> str:
    """The text with *** for each password and token of a URI in it."""
    for pattern in SECRETS:
        text = pattern.sub(lambda found: found[1] + ("***" if is_secret(found[2]) else found[2]), text)
    return text


def is_secret(value: str) -> bool:
    """Whether what stands where a secret does is one: neither nothing nor a reference to the environment."""
    return value != "" and FROM_ENVIRONMENT.fullmatch(value) is None


def check_no_secret(texts: Iterable[str]) -> None:
    """Raises ConfigError, which does not show it, for a setting `KEY=VALUE` that holds a password or token."""
    for text in texts:
        shown = without_secrets(text)
        if any(is_secret(found[2]) for pattern in SECRETS for found in pattern.finditer(text)):
            raise ConfigError(f"{shown}: must be {REMEDY}")


class SecretFilter(logging.Filter):
    """Hides secrets in messages and tracebacks: drivers and MLflow put whole URIs into them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
        return True


def hide_secrets_in_logs(name: str | None = None) -> None:
    """Puts a SecretFilter before every handler that a logger, the root if None, has now."""
    for handler in logging.getLogger(name).handlers:
        if not any(isinstance(known, SecretFilter) for known in handler.filters):
            handler.addFilter(SecretFilter())
