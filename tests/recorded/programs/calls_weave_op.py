"""Functions that Weave records, without a library of a provider."""

import conversation as said
import weave


@weave.op(kind="tool")
def get_temperature(city: str) -> str:
    return said.TOOL_RESULT


@weave.op(kind="agent")
def answer(question: str) -> str:
    return f"It is {get_temperature('Lund')} in Lund."


@weave.op
def retrieve(query: str) -> list:
    return [{"text": text} for text in said.DOCUMENTS]


@weave.op
def fails(question: str) -> str:
    raise ValueError("The loom is broken.")


def error():
    fails(said.QUESTION)


CASES = {
    "agent": lambda: answer(said.WEATHER_QUESTION),
    "retrieval": lambda: retrieve(said.QUESTION),
    "error-op": error,
}
