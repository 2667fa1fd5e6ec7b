"""Tests of the settings: their sources, validation and display."""

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, masked, table, text, variable


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def test_environment_sets_only_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMQL_PORT", "9000")
    monkeypatch.setenv("LOOMQL_DATA_DIR", "elsewhere")
    monkeypatch.setenv("PORT", "1")

    settings = Settings()

    assert (settings.port, settings.data_dir, settings.host) == (9000, Path("elsewhere"), "127.0.0.1")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMQL_MONGODB_URI", "")
    monkeypatch.setenv("LOOMQL_PORT", "")

    assert (Settings().mongodb_uri, Settings().port) == (None, 8000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOOMQL_PORT", "65536"),
        ("LOOMQL_PORT", "http"),
        ("LOOMQL_WORKERS", "0"),
        ("LOOMQL_MONGOD_CACHE_GB", "0.1"),
        ("LOOMQL_MONGOD_CACHE_GB", "nan"),
        ("LOOMQL_DATABASE_TIMEOUT_SECONDS", "inf"),
        ("LOOMQL_LOG_LEVEL", "loud"),
        ("LOOMQL_PROVIDER_SECRETS", "ACME_KEY"),
        ("LOOMQL_PROVIDER_SECRETS", "ACME_KEY@"),
        ("LOOMQL_PROVIDER_SECRETS", "@llm.acme.com"),
        ("LOOMQL_PROVIDER_SECRETS", "ACME-KEY@llm.acme.com"),
        ("LOOMQL_PROVIDER_SECRETS", "ACME_KEY@*"),
        ("LOOMQL_PROVIDER_SECRETS", "ACME_KEY@llm.acme.com, OTHER_KEY@ftp://llm.acme.com"),
        ("LOOMQL_COMPLETION_TIMEOUT_SECONDS", "0"),
        ("LOOMQL_MAX_COMPLETIONS", "0"),
        ("LOOMQL_MONGODB_URI", "localhost:27017"),
        ("LOOMQL_MONGODB_DATABASE", "a.b"),
        ("LOOMQL_MONGODB_DATABASE", "ä" * 32),
        ("LOOMQL_MONGODB_DATABASE", "admin"),
    ],
)
def test_invalid_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError) as caught:
        Settings()

    assert [variable(str(error["loc"][0])) for error in caught.value.errors()] == [name]


def test_settings_are_immutable_and_hide_the_uri() -> None:
    settings = Settings(mongodb_uri="mongodb://user:hush-hush@host/")

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1
    assert "hush-hush" not in repr(settings)


def test_table_lists_every_setting_with_a_sentence_and_its_default() -> None:
    rows = table()

    assert [row.variable for row in rows] == [variable(field) for field in Settings.model_fields]
    assert all(row.description.endswith(".") for row in rows)
    defaults = {row.variable: row.default for row in rows}
    assert defaults["LOOMQL_WORKERS"] == "1"
    assert defaults["LOOMQL_GRAPHIQL"] == "true"
    assert defaults["LOOMQL_MONGODB_URI"] == "unset"
    assert defaults["LOOMQL_DATA_DIR"] == "the user's data folder"


def test_table_states_the_types_and_bounds_of_settings() -> None:
    types = {row.variable: row.type for row in table()}

    assert types["LOOMQL_PORT"] == "integer, at least 0, at most 65,535"
    assert types["LOOMQL_KEYS"] == "`auto`, `required` or `off`"
    assert types["LOOMQL_MONGODB_URI"] == "text"
    assert types["LOOMQL_GRAPHIQL"] == "true or false"


def test_every_setting_has_a_group() -> None:
    groups = [row.group for row in table()]

    assert all(groups)
    assert len(dict.fromkeys(groups)) == len([group for group, before in pairwise(groups) if group != before]) + 1


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "unset"), (True, "true"), (1, "1"), (0.5, "0.5"), (Path("a"), "a")]
)
def test_values_are_shown_in_environment_syntax(value: object, shown: str) -> None:
    assert text(value) == shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://host:27017/db", "mongodb://host:27017/db"),
        ("mongodb://user@host/", "mongodb://user@host/"),
        ("mongodb://user:hush-hush@host/", "mongodb://user:***@host/"),
        ("mongodb+srv://user:se@c:re/t@host/", "mongodb+srv://user:***@host/"),
        ("mongodb://h/?tlsCertificateKeyFilePassword=x&w=1", "mongodb://h/?tlsCertificateKeyFilePassword=***&w=1"),
        ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:x", "mongodb://h/?authMechanismProperties=***"),
    ],
)
def test_shown_uri_has_no_secret(uri: str, shown: str) -> None:
    assert masked(uri) == shown
