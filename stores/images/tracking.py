"""The call that is kept of a request for images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.errors import BadInputError, PayloadTooLargeError
from stores.ids import new_id
from stores.images.image_extraction import FORMS
from stores.images.inputs import ImageInputs
from stores.providers import JsonObject

OP_NAME: Final = "weave.image_generation_create"

_COUNTS: Final = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
}
"""What usage is called in calls, and by providers."""

_DETAILS: Final = ("input_tokens_details", "output_tokens_details")
"""The tokens of images among those counts, which have prices of their own."""


@dataclass(frozen=True, slots=True)
class Painting:
    """A request, when it began, and under which name its usage is counted."""

    project_id: str
    inputs: ImageInputs
    began: int
    counted_as: str
    wb_user_id: str | None

    async def kept(self, calls: CallsStore, response: JsonObject, error: str | None) -> str:
        """Keep it as a call that has ended; the call's id.

        Of a response that no call can hold it has what stands for the pictures, and the reason.
        """
        start = self._start()
        end = self._end(str(start.id), response, error)
        try:
            await calls.write([start, end])
        except (BadInputError, PayloadTooLargeError) as refused:
            reason = f"The answer cannot be kept as it is: {refused.message}"
            shown = {"data": [_pictures_of(entry) for entry in response["data"]], "error": reason}
            await calls.write([start, self._end(str(start.id), shown, reason)])
        return end.id

    def _start(self) -> CallStart:
        return CallStart(
            project_id=self.project_id,
            id=new_id(),
            op_name=OP_NAME,
            started_at=self.began,
            attributes={},
            inputs=self.inputs.given,
            wb_user_id=self.wb_user_id,
        )

    def _end(self, call_id: str, output: JsonObject, exception: str | None) -> CallEnd:
        return CallEnd(
            project_id=self.project_id,
            id=call_id,
            ended_at=times.now(),
            summary={"usage": {self.counted_as: _usage(output.get("usage"))}},
            exception=exception,
            output=output,
            is_large=True,
        )


def _pictures_of(entry: JsonObject) -> JsonObject:
    return {form: entry[form] for form in FORMS if isinstance(entry.get(form), dict)}


def _usage(told: Any) -> JsonObject:  # noqa: ANN401 -- any JSON
    """What a request used, by the names that calls have for it."""
    counts = told if isinstance(told, dict) else {}
    found = {name: _first(counts, names) for name, names in _COUNTS.items()}
    details = {name: {part: n for part, n in counts[name].items() if type(n) is int} for name in _details(counts)}
    return {"requests": 1} | {name: count for name, count in found.items() if count is not None} | details


def _details(counts: JsonObject) -> list[str]:
    return [name for name in _DETAILS if isinstance(counts.get(name), dict)]


def _first(counts: JsonObject, names: Sequence[str]) -> int | None:
    whole = (counts.get(name) for name in names)
    return next((count for count in whole if isinstance(count, int) and not isinstance(count, bool)), None)
