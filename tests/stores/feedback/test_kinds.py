"""Tests of the rules of feedback types that need no database: reactions, notes, refs, runnables, sizes."""

from dataclasses import replace
from typing import Any

import pytest

from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.feedback import NewFeedback
from stores.feedback.inputs import MAX_PAYLOAD_BYTES
from tests.stores.calls.builders import PROJECT
from tests.stores.feedback.builders import annotation, call_ref, feedback, note, reaction

OBJECT = f"weave:///{PROJECT}/object/score:v"
OP = f"weave:///{PROJECT}/op/score:v"


def runnable(**changes: Any) -> NewFeedback:
    plain = feedback({"output": 1}, feedback_type="wandb.runnable.score", runnable_ref=OBJECT)
    return replace(plain, **changes)


def refusal(new: NewFeedback) -> StoreError:
    with pytest.raises(StoreError) as caught:
        new.checked()
    return caught.value


@pytest.mark.parametrize(
    ("emoji", "alias", "detoned", "detoned_alias"),
    [
        ("👍", ":thumbs_up:", "👍", ":thumbs_up:"),
        ("👍🏽", ":thumbs_up_medium_skin_tone:", "👍", ":thumbs_up:"),
        ("🇩🇪", ":Germany:", "🇩🇪", ":Germany:"),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", ":England:", None, ":England:"),
        ("👨‍👩‍👧‍👦", ":family_man_woman_girl_boy:", None, ":family_man_woman_girl_boy:"),
        ("👩🏽‍🚀", ":woman_astronaut_medium_skin_tone:", "👩‍🚀", ":woman_astronaut:"),
        ("❤️", ":red_heart:", "❤️", ":red_heart:"),
        ("1️⃣", ":keycap_1:", None, ":keycap_1:"),
        ("🏽", ":medium_skin_tone:", "🏽", ":medium_skin_tone:"),
        ("👍a", ":thumbs_up:a", "👍a", ":thumbs_up:a"),
    ],
)
def test_reaction_has_the_names_of_its_emoji(emoji: str, alias: str, detoned: str | None, detoned_alias: str) -> None:
    new = feedback({"emoji": emoji, "by": "hand", "alias": "mine"}, feedback_type="wandb.reaction.1").checked()

    assert new.payload == {
        "emoji": emoji,
        "by": "hand",
        "alias": alias,
        "detoned": detoned or emoji,
        "detoned_alias": detoned_alias,
    }


def test_family_without_a_name_is_one_emoji() -> None:
    new = reaction("👨🏿‍👩🏻‍👧🏽").checked()

    assert isinstance(new.payload, dict)
    assert new.payload["detoned"] == "👨‍👩‍👧"


@pytest.mark.parametrize(
    ("payload", "argument", "says"),
    [
        ({}, "payload.$.emoji", "one emoji"),
        ({"emoji": 5}, "payload.$.emoji", "one emoji"),
        ({"emoji": "a"}, "payload.$.emoji", "has 0 emoji; send exactly one"),
        ({"emoji": ""}, "payload.$.emoji", "has 0 emoji"),
        ({"emoji": "👍👎"}, "payload.$.emoji", "has 2 emoji; send exactly one"),
        ({"emoji": "🇩🇪🇫🇷"}, "payload.$.emoji", "has 2 emoji"),
        ({"emoji": "👍" + "a" * 1024}, "payload.$.emoji", "has 1,025 characters; the limit is 1,024"),
    ],
)
def test_reaction_without_one_emoji_is_refused(payload: object, argument: str, says: str) -> None:
    error = refusal(feedback(payload, feedback_type="wandb.reaction.1"))

    assert (type(error), error.argument) == (BadInputError, argument)
    assert says in error.message


@pytest.mark.parametrize("text", ["x", "x" * 1024, "🧵" * 1024])
def test_note_has_a_text(text: str) -> None:
    assert note(text).checked().payload == {"note": text}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"note": "x" * 1025}, "has 1,025 characters; the limit is 1,024"),
        ({"note": ""}, "1 to 1,024 characters"),
        ({"note": None}, "1 to 1,024 characters"),
        ({}, "1 to 1,024 characters"),
    ],
)
def test_note_with_missing_or_too_long_text_is_refused(payload: object, says: str) -> None:
    error = refusal(feedback(payload, feedback_type="wandb.note.1"))

    assert error.argument == "payload.$.note"
    assert says in error.message


@pytest.mark.parametrize(
    "new",
    [
        runnable(),
        runnable(trigger_ref=OBJECT, call_ref=call_ref()),
        runnable(runnable_ref=OP, call_ref=call_ref()),
        runnable(runnable_ref=f"{OBJECT}/attr/x"),
        runnable(runnable_ref="weave:///acme/other/object/score:v"),
        annotation(OBJECT, 1, trigger_ref=OP, call_ref=call_ref(), runnable_ref=OP),
        feedback(feedback_type=""),
        feedback(weave_ref="anything at all"),
        feedback(feedback_type="wandb.reaction.2"),
    ],
    ids=lambda new: f"{new.feedback_type} {sorted(new.refs)}",
)
def test_valid_feedback_is_accepted(new: NewFeedback) -> None:
    checked = new.checked()

    assert checked.id
    assert checked.wb_user_id == "local"


@pytest.mark.parametrize(
    ("new", "argument", "says"),
    [
        (annotation(OBJECT, 1, feedback_type="wandb.annotation"), "feedback_type", "must be wandb.annotation.<name>"),
        (annotation(OBJECT, 1, feedback_type="wandb.annotation."), "feedback_type", "must be wandb.annotation.<name>"),
        (annotation(OBJECT, 1, feedback_type="wandb.annotations"), "feedback_type", "must be wandb.annotation.<name>"),
        (annotation(OBJECT, 1, annotation_ref=None), "annotation_ref", "is required"),
        (annotation("score", 1), "annotation_ref", "'score' is not a ref"),
        (annotation(OP, 1), "annotation_ref", "must be the ref of an object, not of kind op"),
        (annotation("weave:///acme/other/object/score:v", 1), "annotation_ref", "leads into the project acme/other"),
        (annotation(f"{OBJECT}/attr/x", 1), "annotation_ref", "by its digest, without a path after it"),
        (annotation(f"{OBJECT[:-1]}latest", 1), "annotation_ref", "by its digest"),
        (annotation(f"{OBJECT[:-1]}*", 1), "annotation_ref", "by its digest"),
        (annotation(OBJECT, 1, feedback_type="wandb.annotation.grade"), "annotation_ref", "names 'grade'"),
        (annotation(OBJECT, 1, payload={"score": 1}), "payload", 'has no "value"'),
        (annotation("weave-trace-internal:///x/object/score:v", 1), "annotation_ref", "is reserved for internal refs"),
        (feedback(annotation_ref=OBJECT), "annotation_ref", "leave it out"),
        (note(annotation_ref=OBJECT), "annotation_ref", "leave it out"),
        (runnable(annotation_ref=OBJECT), "annotation_ref", "leave it out"),
        (runnable(feedback_type="wandb.runnable"), "feedback_type", "must be wandb.runnable.<name>"),
        (runnable(runnable_ref=None), "runnable_ref", "is required"),
        (runnable(runnable_ref=call_ref()), "runnable_ref", "must be the ref of an object or op, not of kind call"),
        (runnable(feedback_type="wandb.runnable.grade"), "runnable_ref", "leads to 'score'"),
        (runnable(runnable_ref=OP), "call_ref", "is required if runnableRef is the ref of an op"),
        (runnable(call_ref=OBJECT), "call_ref", "must be the ref of a call, not of kind object"),
        (runnable(trigger_ref="x"), "trigger_ref", "'x' is not a ref"),
        (runnable(payload={"result": 1}), "payload", 'has no "output"'),
        (feedback(runnable_ref=OBJECT), "runnable_ref", "is not allowed for feedback of type 'custom'"),
        (feedback(call_ref=call_ref()), "call_ref", "is not allowed for feedback of type 'custom'"),
        (note(trigger_ref=OBJECT), "trigger_ref", "is not allowed for feedback of type 'wandb.note.1'"),
        (feedback([1]), "payload", "must be a JSON object"),
        (feedback("text"), "payload", "must be a JSON object"),
        (feedback({"ref": "weave-trace-internal:///x/call/y"}), "payload", "is reserved for internal refs"),
        (feedback(weave_ref="weave-trace-internal:///x"), "weave_ref", "is reserved for internal refs"),
        (feedback(weave_ref="x" * 1025), "weave_ref", "has 1,025 characters"),
        (feedback(feedback_type="x" * 1025), "feedback_type", "has 1,025 characters"),
        (feedback(creator="x" * 1025), "creator", "has 1,025 characters"),
        (feedback(wb_user_id="x" * 1025), "wb_user_id", "has 1,025 characters"),
        (feedback(id="x" * 129), "id", "has 129 characters; the limit is 128"),
        (feedback(id=""), "id", "is empty; leave it out"),
        (feedback(project_id="acme"), "project_id", "is not a project id"),
        (feedback({"n": 10**400}), "payload", "more than 308 digits at n"),
    ],
)
def test_invalid_feedback_is_refused_by_name(new: NewFeedback, argument: str, says: str) -> None:
    error = refusal(new)

    assert (type(error), error.argument) == (BadInputError, argument)
    assert says in error.message


def test_payload_over_the_json_limits_is_refused() -> None:
    payload: object = {}
    for _ in range(1024):
        payload = {"a": payload}

    assert "nests deeper than 1,024 levels" in refusal(feedback(payload)).message


def test_payload_at_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    room = MAX_PAYLOAD_BYTES - len('{"a":""}')

    assert len(feedback({"a": "x" * room}).checked().text) == MAX_PAYLOAD_BYTES
    for payload in ({"a": "x" * (room + 1)}, {"a": "é" * (room // 2 + 1)}):
        error = refusal(feedback(payload))
        assert (type(error), error.argument) == (PayloadTooLargeError, "payload")
        assert "bytes as JSON" in error.message
        assert "the limit is 1,048,576" in error.message


def test_fields_added_to_a_reaction_count_towards_its_size() -> None:
    room = MAX_PAYLOAD_BYTES - len('{"emoji":"👍","a":""}'.encode())

    error = refusal(feedback({"emoji": "👍", "a": "x" * room}, feedback_type="wandb.reaction.1"))

    assert isinstance(error, PayloadTooLargeError)
