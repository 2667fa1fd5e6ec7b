"""Calls of the `litellm` library."""

import os

import conversation as said
import litellm

SYSTEM = {"role": "system", "content": said.SYSTEM}
litellm.num_retries = 0


def ask(content, **options):
    return litellm.completion(
        model=f"openai/{said.OPENAI_MODEL}",
        api_base=f"{os.environ['PROVIDER']}/v1",
        api_key="sk-none",
        messages=[SYSTEM, {"role": "user", "content": content}],
        **options,
    )


def stream():
    for _chunk in ask(said.QUESTION, stream=True, stream_options={"include_usage": True}):
        pass


CASES = {"chat": lambda: ask(said.QUESTION), "stream": stream}
