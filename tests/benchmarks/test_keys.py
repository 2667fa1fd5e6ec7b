"""The benchmark of keys measures every kind of check."""

from tests.benchmarks.keys import measure_keys


def test_every_kind_of_key_check_is_measured(mongodb_uri: str, database_name: str) -> None:
    section = measure_keys(mongodb_uri, database_name, 3)

    assert list(section) == ["check of a key", "check of an issuer's token", "check of a key's grants at a field"]
    assert all(row.must == "ms <= 0.1" and row.loomql_ms and row.floor_ms for row in section.values())
