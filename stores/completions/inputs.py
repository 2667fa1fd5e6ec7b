"""Inputs of completions, validated."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from stores.errors import BadInputError
from stores.input_checks import MAX_NAME, check_length
from stores.providers import JsonObject

_NAMES: Final = (
    "messages temperature top_p n stop max_completion_tokens max_tokens modalities presence_penalty frequency_penalty "
    "logit_bias user response_format seed tools tool_choice logprobs top_logprobs parallel_tool_calls functions "
    "function_call"
)
_FOR_PROVIDERS: Final = frozenset(_NAMES.split())
_FOR_SERVER: Final = frozenset({"model", "stream", "timeout", "extra_headers", "api_version"})

_TYPES: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "messages": (list, 'a list of messages such as {"role": "user", "content": "Hello"}'),
    "modalities": (list, "a list of strings"),
    "tools": (list, "a list of JSON objects"),
    "functions": (list, "a list of JSON objects"),
    "logit_bias": (dict, "a JSON object from tokens to numbers"),
    "response_format": (dict, 'a JSON object such as {"type": "json_object"}'),
    "stop": ((str, list), "a string or a list of strings"),
    "tool_choice": ((str, dict), 'a string such as "auto", or a JSON object'),
    "extra_headers": (dict, "a JSON object from names to strings"),
}
_OF_OBJECTS: Final = ("messages", "tools", "functions")
_MAX_HEADERS: Final = 50
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
MAX_SECONDS: Final = 3600
"""Longest timeout a request may set. The server's own limit may be shorter and then applies."""


@dataclass(frozen=True, slots=True)
class CompletionInputs:
    """Inputs of a completion by their names in OpenAI's API, without nulls.

    `timeout_seconds` limits the provider request. `headers` are extra headers for the provider; they may contain
    secrets of the caller and are never stored.
    """

    model: str
    values: JsonObject
    headers: Mapping[str, str]
    timeout_seconds: float | None = None

    @classmethod
    def parse(cls, inputs: Mapping[str, Any]) -> Self:
        """Validate the inputs of a request.

        Raises:
            BadInputError: an input is unknown or invalid; the argument is `inputs.<name>`.
        """
        values = {name: value for name, value in inputs.items() if value is not None}
        model = values.get("model")
        if not isinstance(model, str) or not model:
            raise BadInputError("is required: the name of a model, such as openai/gpt-4o", "inputs.model")
        check_length(model, MAX_NAME, "inputs.model")
        for name, value in values.items():
            _check(name, value)
        headers = values.pop("extra_headers", {})
        return cls(model, values, headers, _seconds(values.get("timeout")))

    @property
    def request(self) -> JsonObject:
        """The inputs to send to the provider, without the model."""
        return {name: value for name, value in self.values.items() if name in _FOR_PROVIDERS}

    @property
    def url_parameters(self) -> dict[str, str]:
        """URL parameters: the API version, for providers that need one."""
        version = self.values.get("api_version")
        return {"api-version": str(version)} if version else {}


def _check(name: str, value: object) -> None:
    if name not in _FOR_PROVIDERS and name not in _FOR_SERVER:
        raise BadInputError(f"{name[:64]!r} is not an input of completions", "inputs")
    expected = _TYPES.get(name)
    if expected and not isinstance(value, expected[0]):
        raise BadInputError(f"must be {expected[1]}", f"inputs.{name}")
    if name in _OF_OBJECTS and isinstance(value, list):
        for position, member in enumerate(value):
            if not isinstance(member, dict):
                raise BadInputError("must be a JSON object", f"inputs.{name}.{position}")
    if name == "api_version" and not (isinstance(value, str) and _VERSION.fullmatch(value)):
        raise BadInputError(
            "must be a version of at most 64 letters, digits, dots and dashes, such as 2026-01-01", "inputs.api_version"
        )
    if name == "extra_headers" and isinstance(value, dict):
        if len(value) > _MAX_HEADERS:
            raise BadInputError(f"has {len(value):,} headers; the limit is {_MAX_HEADERS}", f"inputs.{name}")
        if not all(isinstance(header, str) for header in value.values()):
            raise BadInputError(f"must be {_TYPES[name][1]}", f"inputs.{name}")


def _seconds(timeout: object) -> float | None:
    """Parse a timeout in seconds, a number or a string."""
    if timeout is None:
        return None
    try:
        seconds = math.nan if isinstance(timeout, bool) else float(timeout)  # type: ignore[arg-type] # what is none raises
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= MAX_SECONDS:
        raise BadInputError(
            f"must be a number of seconds above 0 and at most {MAX_SECONDS:,}, such as 30", "inputs.timeout"
        )
    return seconds
