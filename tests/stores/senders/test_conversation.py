"""Tests of conversations: which messages of a call are new."""

from typing import Any

from stores.senders.conversation import Conversation
from stores.senders.messages import Message, input_messages, output_messages

SYSTEM = ("system", "Be brief.")


def _messages(*said: tuple[str, str]) -> list[Message]:
    sent: list[Any] = [{"role": role, "content": text} for role, text in said]
    return input_messages(None, {"messages": sent}) if sent else []


class Told:
    """A conversation, of which each call returns the new texts."""

    def __init__(self) -> None:
        self.conversation = Conversation()

    def add(
        self, *asked: tuple[str, str], answer: str = "", trace: str = "trace", at: tuple[int, int | None] = (0, None)
    ) -> list[str]:
        new = self.conversation.add(trace, *at, _messages(*asked), output_messages(None, answer or None))
        return [message["parts"][0]["text"] for message in new]


def user(text: str) -> tuple[str, str]:
    return "user", text


def assistant(text: str) -> tuple[str, str]:
    return "assistant", text


def test_history_is_told_once() -> None:
    told = Told()

    assert told.add(SYSTEM, user("hi"), answer="hello") == ["Be brief.", "hi", "hello"]
    assert told.add(SYSTEM, user("hi"), assistant("hello"), user("bye"), answer="ciao") == ["bye", "ciao"]


def test_equal_texts_in_a_conversation_are_told_each() -> None:
    told = Told()

    told.add(user("more"), answer="ok")
    assert told.add(user("more"), assistant("ok"), user("more"), answer="ok") == ["more", "ok"]
    history = [user("more"), assistant("ok"), user("more"), assistant("ok")]
    assert told.add(*history, user("more"), answer="ok") == ["more", "ok"]


def test_changed_system_prompt_is_told_alone() -> None:
    told = Told()

    told.add(SYSTEM, user("hi"), answer="hello")
    asked = ("system", "Be long."), user("hi"), assistant("hello"), user("bye")
    assert told.add(*asked, answer="ciao") == ["Be long.", "bye", "ciao"]


def test_trimmed_history_adds_nothing() -> None:
    told = Told()

    told.add(user("1"), answer="2")
    told.add(user("1"), assistant("2"), user("3"), answer="4")
    assert told.add(user("3"), assistant("4"), user("5"), answer="6") == ["5", "6"]


def test_summary_in_place_of_history_is_told_alone() -> None:
    told = Told()

    told.add(user("1"), answer="2")
    told.add(user("1"), assistant("2"), user("3"), answer="4")
    asked = user("summary of 1 and 2"), user("3"), assistant("4"), user("5")
    assert told.add(*asked, answer="6") == ["summary of 1 and 2", "5", "6"]


def test_call_inside_another_with_equal_messages_adds_nothing() -> None:
    told = Told()

    told.add(SYSTEM, user("hi"), answer="hello")
    assert told.add(SYSTEM, user("hi"), answer="hello") == []


def test_question_without_history_is_new_after_its_answer() -> None:
    told = Told()

    told.add(SYSTEM, user("hi"), answer="hello", at=(0, 5))
    assert told.add(SYSTEM, user("hi"), answer="hello", at=(1, 4)) == []
    assert told.add(SYSTEM, user("hi"), answer="hello", at=(6, 8)) == ["hi", "hello"]


def test_question_is_not_new_in_a_retry() -> None:
    told = Told()

    told.add(user("hi"), at=(0, 1))
    assert told.add(user("hi"), answer="hello", at=(2, 3)) == ["hello"]


def test_other_answer_to_the_same_question_is_told() -> None:
    told = Told()

    told.add(user("hi"), answer="hello")
    assert told.add(user("hi"), answer="good day") == ["good day"]
    asked = user("hi"), assistant("good day"), user("bye")
    assert told.add(*asked, answer="ciao") == ["bye", "ciao"]


def test_retry_of_a_failed_call_tells_its_answer() -> None:
    told = Told()

    assert told.add(user("hi")) == ["hi"]
    assert told.add(user("hi"), answer="hello") == ["hello"]


def test_conversation_of_another_agent_is_told_as_a_whole() -> None:
    told = Told()

    told.add(SYSTEM, user("plan"), answer="ask another")
    assert told.add(("system", "You search."), user("find"), answer="found") == ["You search.", "find", "found"]
    history = [user("find"), assistant("found")]
    assert told.add(("system", "You search."), *history, user("more"), answer="none") == ["more", "none"]
    asked = SYSTEM, user("plan"), assistant("ask another"), user("found")
    assert told.add(*asked, answer="done") == ["found", "done"]


def test_agents_with_equal_answers_are_told_apart() -> None:
    told = Told()

    assert told.add(user("sum 1"), answer="ok") == ["sum 1", "ok"]
    assert told.add(user("sum 2"), answer="ok") == ["sum 2", "ok"]
    for first in ("sum 1", "sum 2"):
        assert told.add(user(first), assistant("ok"), user("go on"), answer="done") == ["go on", "done"]
    for first in ("sum 2", "sum 1"):
        history = user(first), assistant("ok"), user("go on"), assistant("done")
        assert told.add(*history, user("and?"), answer=first) == ["and?", first]


def test_question_without_history_is_new_in_another_trace() -> None:
    told = Told()

    told.add(SYSTEM, user("hi"), answer="hello", trace="1")
    assert told.add(SYSTEM, user("hi"), answer="hello", trace="2") == ["hi", "hello"]
    assert told.add(SYSTEM, user("hi"), answer="hello", trace="2") == []


def test_question_that_ended_a_history_is_new_alone_in_another_trace() -> None:
    told = Told()

    told.add(user("hi"), answer="hello", trace="1")
    told.add(user("hi"), assistant("hello"), user("more"), answer="ok", trace="2")
    assert told.add(user("more"), answer="ok", trace="3") == ["more", "ok"]


def test_long_conversation_of_equal_messages_is_fast() -> None:
    told = Told()
    history: list[tuple[str, str]] = []

    for _ in range(100):
        assert told.add(*history, user("x"), answer="y") == ["x", "y"]
        history += [user("x"), assistant("y")]
