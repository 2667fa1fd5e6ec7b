"""The call that records an image request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.errors import BadInputError, PayloadTooLargeError
from stores.ids import new_id
from stores.images.image_extraction import IMAGE_KEYS
from stores.images.inputs import ImageInputs
from stores.json import AnyJson
from stores.providers import JsonObject

OP_NAME: Final = "weave.image_generation_create"

_COUNTS: Final = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
}
"""Usage keys of calls, and the providers' names for them."""

_DETAILS: Final = ("input_tokens_details", "output_tokens_details")
"""Counts of image tokens, which have their own prices."""


@dataclass(frozen=True, slots=True)
class TrackedRequest:
    """An image request, its start time, and the name under which its usage is counted."""

    project_id: str
    inputs: ImageInputs
    started_at: int
    usage_name: str
    wb_user_id: str | None

    async def store(self, calls: CallsStore, response: JsonObject, error: str | None) -> str:
        """Store the request as a call that has ended; return the call's id.

        If no call can hold the response, the call gets the replacement values of the images and the reason.
        """
        start = self._start()
        end = self._end(str(start.id), response, error)
        try:
            await calls.write([start, end])
        except (BadInputError, PayloadTooLargeError) as refused:
            reason = f"The response cannot be stored: {refused.message}"
            reduced = {"data": [_images_of(entry) for entry in response["data"]], "error": reason}
            await calls.write([start, self._end(str(start.id), reduced, reason)])
        return end.id

    def _start(self) -> CallStart:
        return CallStart(
            project_id=self.project_id,
            id=new_id(),
            op_name=OP_NAME,
            started_at=self.started_at,
            attributes={},
            inputs=self.inputs.given,
            wb_user_id=self.wb_user_id,
        )

    def _end(self, call_id: str, output: JsonObject, exception: str | None) -> CallEnd:
        return CallEnd(
            project_id=self.project_id,
            id=call_id,
            ended_at=times.now(),
            summary={"usage": {self.usage_name: _usage(output.get("usage"))}},
            exception=exception,
            output=output,
            is_large=True,
        )


def _images_of(entry: JsonObject) -> JsonObject:
    return {form: entry[form] for form in IMAGE_KEYS if isinstance(entry.get(form), dict)}


def _usage(usage: AnyJson) -> JsonObject:
    """Convert a provider's usage to the names that calls use."""
    counts = usage if isinstance(usage, dict) else {}
    values = {name: _first_count(counts, names) for name, names in _COUNTS.items()}
    details = {name: {part: n for part, n in counts[name].items() if type(n) is int} for name in _details(counts)}
    return {"requests": 1} | {name: count for name, count in values.items() if count is not None} | details


def _details(counts: JsonObject) -> list[str]:
    return [name for name in _DETAILS if isinstance(counts.get(name), dict)]


def _first_count(counts: JsonObject, names: Sequence[str]) -> int | None:
    whole = (counts.get(name) for name in names)
    return next((count for count in whole if isinstance(count, int) and not isinstance(count, bool)), None)
