"""Inputs for creating feedback, validated."""

from dataclasses import dataclass
from typing import Any, Final, cast

from stores import ids, refs
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.feedback.kinds import Refs, checked_payload
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length, check_object
from stores.json import codec

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""Limit on a payload's compact JSON text, including what LoomQL adds, in bytes."""

REFS: Final = ("annotation_ref", "runnable_ref", "call_ref", "trigger_ref")

_SCHEMES: Final = ":///"


@dataclass(slots=True)
class NewFeedback:
    """Feedback about a ref or any other text; the payload is a JSON object."""

    project_id: str
    weave_ref: str
    feedback_type: str
    payload: object
    id: str | None = None
    creator: str | None = None
    annotation_ref: str | None = None
    runnable_ref: str | None = None
    call_ref: str | None = None
    trigger_ref: str | None = None
    wb_user_id: str | None = None
    created_at: int | None = None
    """Creation time in microseconds since the epoch; the current time if None."""
    takes_call_id: bool = False
    """True if `weave_ref` must be a ref or the bare id of a call of the project; false if it may be any text."""
    is_named: bool = False
    """True if the client chose the id, so feedback with this id may exist."""
    text: str = ""
    """The payload's JSON text, set by `checked`."""

    def checked(self) -> "NewFeedback":
        """Validate in place; set a missing id, and the payload as stored. Annotation specs are not checked here.

        Raises:
            BadInputError: a field is invalid; the error names it.
            PayloadTooLargeError: the payload is too large.
        """
        ids.check_project_id(self.project_id)
        self._check_texts()
        if self.takes_call_id:
            self.weave_ref = _ref_of(self.project_id, self.weave_ref)
        check_object(self.payload, "payload")
        payload = cast("dict[str, Any]", self.payload)
        self.text = _text(payload)
        completed = checked_payload(self.project_id, self.feedback_type, payload, self.refs)
        if completed is not payload:
            self.payload, self.text = completed, _text(completed)
        self.is_named = self.id is not None
        self.id = ids.new_id() if self.id is None else self.id
        self.wb_user_id = self.wb_user_id or LOCAL_USER
        return self

    @property
    def refs(self) -> Refs:
        """The optional refs, without `weave_ref`."""
        return {name: text for name in REFS if (text := getattr(self, name)) is not None}

    def _check_texts(self) -> None:
        if self.id is not None:
            check_id(self.id, "id", "leave it out to get a new id")
        for name in ("weave_ref", "feedback_type", "creator", "wb_user_id", *REFS):
            check_length(getattr(self, name), MAX_NAME, name)
        refs.check_external(self.weave_ref, "weave_ref")


def check_id(feedback_id: str, argument: str, if_empty: str) -> None:
    """Check an id sent by a client; `if_empty` says what to do instead of sending an empty one.

    Raises:
        BadInputError: it is empty or too long.
    """
    if not feedback_id:
        raise BadInputError(f"is empty; {if_empty}", argument)
    check_length(feedback_id, ids.MAX_ID, argument)


def _ref_of(project_id: str, text: str) -> str:
    """Return a ref unchanged, and convert the bare id of a call to its ref.

    Raises:
        BadInputError: the text is neither.
    """
    if text.startswith((refs.SCHEME, refs.ARTIFACT_SCHEME)):
        if not refs.is_ref(text) or refs.kind_of(text) == "call":
            _check_entity(text)
        return text
    call = refs.call_ref({"project_id": project_id, "id": text})
    # A call id may contain a slash, but a call ref must not.
    if not ids.is_call_id(text) or not refs.is_ref(call):
        raise BadInputError(
            f"{text[:200]!r} is neither a ref nor a call id; use a ref, such as "
            f"{refs.SCHEME}{project_id}/call/<id>, or a bare call id: a lowercase UUID or {ids.SPAN_ID_LENGTH} "
            "lowercase characters",
            "weave_ref",
        )
    return call


def _check_entity(ref: str) -> None:
    try:
        refs.parse_entity(ref)
    except BadInputError as error:
        raise error.prefixed("weave_ref") from None


def _text(payload: dict[str, Any]) -> str:
    """Encode a payload.

    Raises:
        PayloadTooLargeError: it is longer than `MAX_PAYLOAD_BYTES`.
        BadInputError: it exceeds the JSON limits, or a string in it uses the reserved scheme of refs.
    """
    try:
        text = codec.encode(payload)
        if _SCHEMES in text:
            refs.collect(payload)
    except StoreError as error:
        raise error.prefixed("payload") from None
    size = len(text.encode())
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLargeError(
            f"takes {size:,} bytes as JSON, including fields that the server adds; the limit is {MAX_PAYLOAD_BYTES:,}. "
            "Keep large content in files or objects and refer to it",
            "payload",
        )
    return text
