"""Tests that digests equal those of Weave."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given

from stores import digests
from stores.json import codec
from stores.json.paths import MAX_DEPTH
from tests.stores.json.test_codec import JSON, nested


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        ({"a": 0}, "JbJAWO5ilZcz1t5EyUvPKov45EizaNkKb3oecE9MndU"),
        ({"a": 1}, "XdhgKMbg1k4iUYb5astpM4ssWXZN95FiEH9cS7NNExA"),
        (5, "7y0SfeN7lCuq0GFF5UsMYZofIjJ7LrvPvsePVWSv450"),
        (None, "dCNOmKYnSYX12vHzasLXiswzlGT5UHA7jAGYkvmCuQs"),
        ([1], "CAqe1ChVnvYCZotMAPEU8aEcP2sCpDXwvcFUV45NfyI"),
    ],
)
def test_object_digests_match_known_values(value: object, digest: str) -> None:
    assert digests.object_digest(value) == digest


def test_table_digest_matches_a_known_value() -> None:
    rows: list[Any] = [{"a": 1, "n": {"x": 3}}, {"a": 2, "n": {"x": 1}}, {"a": 1, "n": {"x": 3}}, {"a": "z"}]

    digest = digests.table_digest(map(digests.object_digest, rows))

    assert digest == "9bea9554ea9cbeee6cf099cd2fa6038a00d56ada76d6a976395387437ea9dac0"
    assert digests.table_digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"hello", "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"),
        (b"", "47DEQpj8HBSaXYTImWX5JCeuQeRkm5NMpJWZG3hSuFU"),
    ],
)
def test_file_digests_match_known_values(content: bytes, digest: str) -> None:
    running = hashlib.sha256()
    for byte in content:
        running.update(bytes([byte]))

    assert digests.bytes_digest(content) == digests.sha256_digest(running) == digest


def test_digest_depends_on_number_type_but_not_on_key_order() -> None:
    assert digests.object_digest({"a": 1, "b": {"c": 2, "d": 3}}) == digests.object_digest(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert digests.object_digest({"a": 1}) != digests.object_digest({"a": 1.0})


@given(JSON)
def test_digest_is_computed_over_pythons_json_text(value: object) -> None:
    text = json.dumps(value, sort_keys=True)

    assert codec.canonical(value) == text
    assert digests.object_digest(value) == digests.text_digest(text)


def test_value_too_deep_for_python_has_the_same_text() -> None:
    inner = {"b": [1.5, "é"], "a": {}, "": []}
    text = json.dumps(inner, sort_keys=True)
    for level in range(MAX_DEPTH - 2):
        text = f'{{"k": {text}}}' if level % 2 else f"[{text}]"

    assert codec.canonical(nested(MAX_DEPTH - 2, inner)) == text
