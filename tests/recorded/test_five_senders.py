"""Acceptance: five senders record one conversation with one provider, and one query reads it alike."""

import pytest

from tests.recorded.replay import PAYLOADS, Recording, Replay, new_project

SENDERS = ("weave/openai", "openinference/openai", "openllmetry/openai", "vercel/ai", "langfuse/openai")
EQUAL = ("messages", "outputMessages", "usage", "totalCost", "kind", "model", "userId", "threadId")


@pytest.mark.parametrize("case", ["chat", "tools"])
def test_five_senders_of_one_call_read_alike(case: str, replay: Replay) -> None:
    recordings = [Recording(PAYLOADS / sender / f"{case}.json") for sender in SENDERS]
    project_id = new_project()
    for recording in recordings:
        replay.send(recording, project_id)

    readings = replay.readings(project_id, {"kinds": ["LLM"]})

    read = {
        str(recording): [
            {name: readings[id_][name] for name in EQUAL} for id_ in recording.ids().values() if id_ in readings
        ]
        for recording in recordings
    }
    first, *others = read.values()
    assert len(first) == {"chat": 1, "tools": 2}[case]
    assert all(reading[name] for reading in first for name in EQUAL), first
    for recording, other in zip(recordings[1:], others, strict=True):
        assert other == first, str(recording)
    assert len(readings) == len(first) * len(SENDERS)
