"""Passwords and tokens are found in what people type, and hidden in what is written."""

from __future__ import annotations

import logging
from io import StringIO

import pytest

from bnsweep.config.checks import ConfigError
from bnsweep.config.secrets import check_no_secret, hide_secrets_in_logs, without_secrets

SECRET = [
    ("http://me:pw@host:5000/x", "http://me:***@host:5000/x"),
    ("tracking.uri='postgresql+psycopg://me:p@ss@host/db'", "tracking.uri='postgresql+psycopg://me:***@host/db'"),
    ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
    ("postgresql://me:12345@host", "postgresql://me:***@host"),
    ("http://me:12345@host", "http://me:***@host"),
    ("http://me:a:b@host", "http://me:***@host"),
    ("mysql://me:two words@host/db", "mysql://me:***@host/db"),
    ("mysql://me:it's@host/db", "mysql://me:***@host/db"),
    ("http://me:pw@[::1]:5000", "http://me:***@[::1]:5000"),
    ("postgresql://host/db?user=me&password=pw&sslmode=off", "postgresql://host/db?user=me&password=***&sslmode=off"),
    ("postgresql://host/db?sslpassword=pw", "postgresql://host/db?sslpassword=***"),
    ("https://host/?access_token=pw&a=b", "https://host/?access_token=***&a=b"),
    ("https://host/?a=b&key=pw", "https://host/?a=b&key=***"),
    ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dpw", "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D***"),
    ("${oc.env:URI,postgresql://me:pw@host}", "${oc.env:URI,postgresql://me:***@host}"),
    ("hydra.job.env_set.MLFLOW_TRACKING_TOKEN=pw", "hydra.job.env_set.MLFLOW_TRACKING_TOKEN=***"),
    ("http://me:***@host", "http://me:***@host"),
]
NO_SECRET = [
    "http://host:5000/users/me@work",
    "http://[::1]:5000/me@work",
    "postgresql://me@host:5432/db?sslmode=require",
    "postgresql://me:@host/db",
    "postgresql://me:${oc.env:PW}@host/db tracking.experiment=me@work",
    "postgresql://host/db?password=${oc.env:PW}",
    "sqlite:////home/a:b@c/mlflow.db",
    "seed=0,1 key=3 monkey=1 data.root=/tokens",
]


@pytest.mark.parametrize(("text", "shown"), SECRET)
def test_a_secret_is_refused_and_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown
    with pytest.raises(ConfigError) as refusal:
        check_no_secret(["seed=1", text])
    assert str(refusal.value).startswith(f"{shown}: must be without a password or token")
    assert "MLFLOW_TRACKING_URI" in str(refusal.value)


@pytest.mark.parametrize("text", NO_SECRET)
def test_what_is_no_secret_stands_as_it_is(text: str) -> None:
    assert without_secrets(text) == text
    check_no_secret([text])


def test_a_log_shows_no_secret_in_messages_or_tracebacks() -> None:
    logger, written = logging.getLogger("bnsweep.of_this_test"), StringIO()
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        for _ in range(2):
            hide_secrets_in_logs(logger.name)
        assert len(handler.filters) == 1
        try:
            raise ValueError("no answer from http://me:hunter2@host")
        except ValueError:
            logger.exception("at %s", "postgresql://me:hunter2@host/db")
    finally:
        logger.removeHandler(handler)
    assert "hunter2" not in written.getvalue()
    assert "at postgresql://me:***@host/db" in written.getvalue()
    assert "ValueError: no answer from http://me:***@host" in written.getvalue()
