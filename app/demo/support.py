"""The company's support agent: threads of turns; each turn is a trace that plans, looks things up and answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import orjson

from app.demo import models, retrieval, tools, vocabulary
from app.demo.cases import Case
from app.demo.languages import TOPICS as FOREIGN_TOPICS
from app.demo.library import ASSISTANT
from app.demo.models import Messages
from app.demo.span import Json, Span, StepError, Trace, new_id
from app.demo.topics import TOPICS, Exchange, Topic
from app.demo.world import World
from stores.times import SECOND

_FOREIGN: Final = 0.2
_STAGING: Final = 0.12
_ESCALATED: Final = 0.08
_LONG: Final = (4, 7)
"""Minimum number of turns in an escalated thread, drawn from this range."""

_NO_FALLBACK_RATE: Final = 0.35
_LENGTHS: Final = (24, 26, 20, 12, 8, 5, 3, 2)
"""Weights of threads with one, two, ... eight turns."""


@dataclass(slots=True)
class Conversation:
    """A thread: the customer, the topic, and the messages so far."""

    world: World
    topic: Topic
    case: Case
    environment: str
    region: str
    wb_user_id: str
    thread_id: str
    history: Messages = field(default_factory=list)

    def trace(self, started_at: int) -> Trace:
        """Return the trace of another turn."""
        customer = {"name": self.case.customer, "tier": self.case.tier, "language": self.topic.language}
        return self.world.trace(
            started_at,
            self.environment,
            self.region,
            self.wb_user_id,
            thread_id=self.thread_id,
            more={"area": self.topic.area, "customer": customer},
        )


def thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation of one to eight turns at a random time in the two weeks."""
    length = world.rng.choices(range(1, len(_LENGTHS) + 1), _LENGTHS)[0]
    escalates = world.rng.random() < _ESCALATED
    length = max(length, world.rng.randint(*_LONG)) if escalates else length
    yield from _turns(_new_talk(world), length, world.busy_moment(), escalated=length - 2 if escalates else None)


def live_thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation whose last turn started a minute or two ago and waits for a tool or a model."""
    talk = _new_talk(world)
    yield from _turns(talk, world.rng.randint(1, 2), world.now - 20 * 60 * SECOND)
    yield _turn(talk, _opening(talk), world.now - world.rng.randint(60, 150) * SECOND, hangs=True)


def _new_talk(world: World) -> Conversation:
    rng = world.rng
    topic = rng.choice(FOREIGN_TOPICS if rng.random() < _FOREIGN else TOPICS)
    region = rng.choice(vocabulary.REGIONS)
    staging = rng.random() < _STAGING
    user = rng.choice(vocabulary.DEVELOPERS) if staging else vocabulary.SERVICE_USERS[region]
    environment = "staging" if staging else "production"
    return Conversation(world, topic, Case.draw(rng), environment, region, user, f"chat-{new_id(rng)[:13]}")


def _turns(talk: Conversation, length: int, started_at: int, *, escalated: int | None = None) -> Iterator[Span]:
    for number in range(length):
        exchange = _opening(talk) if number == 0 else _next(talk, last=number == length - 1)
        turn = _turn(talk, exchange, started_at, escalated=number == escalated)
        yield turn
        started_at = turn.clock + talk.world.rng.randint(15, 240) * SECOND


def _opening(talk: Conversation) -> Exchange:
    rng, topic = talk.world.rng, talk.topic
    question, answer = rng.choice(topic.exchanges)
    asked = f"{rng.choice(topic.greetings)}{question}{rng.choice(topic.sign_offs)}"
    return asked, f"{rng.choice(topic.openings)} {answer} {rng.choice(topic.closings)}".strip()


def _next(talk: Conversation, *, last: bool) -> Exchange:
    rng, topic = talk.world.rng, talk.topic
    said = " ".join(message["content"] for message in talk.history)
    fresh = [exchange for exchange in topic.follow_ups if talk.case.tell(exchange[0]) not in said]
    if fresh and not (last and rng.random() < 1 / 2):
        question, answer = rng.choice(fresh)
        return f"{rng.choice(topic.lead_ins)}{question}", f"{answer} {rng.choice(topic.closings)}".strip()
    return rng.choice(topic.thanks) if last else _opening(talk)


def _turn(
    talk: Conversation, exchange: Exchange, started_at: int, *, escalated: bool = False, hangs: bool = False
) -> Span:
    question, reply = (talk.case.tell(text) for text in exchange)
    display_name = talk.case.tell("Escalated: {case_number} {customer}") if escalated else None
    trace = talk.trace(started_at)
    inputs = {"self": trace.ref(ASSISTANT), "question": question, "history": list(talk.history)}
    with trace.root(trace.ref("assistant.answer"), inputs, started_at, display_name) as turn:
        steps = _plan(turn, talk, question, smalltalk=exchange in talk.topic.thanks, escalated=escalated)
        articles = _look_up(turn, talk.topic, question) if "retrieve" in steps else []
        results = _use_tools(turn, talk, steps, hangs=hangs)
        if None in results:
            reply = talk.case.tell(talk.topic.apology)
        answer = _write(turn, _messages(talk, turn, articles, results, question), reply, hangs=hangs)
        turn.output = {"answer": answer, "sources": articles, "intent": talk.topic.intent}
        talk.history += [models.message("user", question), models.message("assistant", answer)]
    return turn


def _plan(turn: Span, talk: Conversation, question: str, *, smalltalk: bool, escalated: bool) -> list[str]:
    rng = talk.world.rng
    steps = [] if smalltalk else ["retrieve", *(tool for tool in talk.topic.tools if rng.random() < 2 / 3)]
    steps += ["ask_colleague"] if escalated else []
    plan = {"intent": talk.topic.intent, "steps": steps, "confidence": round(rng.uniform(0.55, 0.99), 2)}
    with turn.step("plan", {"question": question, "turns_before": len(talk.history) // 2}) as call:
        messages = [
            models.message("system", vocabulary.PLANNER_PROMPT),
            *talk.history[-4:],
            models.message("user", question),
        ]
        models.chat(call, models.PLANNERS[turn.trace.release], messages, orjson.dumps(plan).decode())
        call.output = plan
    return steps


def _look_up(turn: Span, topic: Topic, question: str) -> list[str]:
    """Return the retrieved articles; if the index fails, the assistant answers from memory."""
    try:
        return retrieval.retrieve(turn, topic, question)
    except StepError:
        return []


def _use_tools(turn: Span, talk: Conversation, steps: list[str], *, hangs: bool) -> list[Json | None]:
    """Return the results of the planned tools, None for a failed one; with `hangs` the last one does not return."""
    chosen = [step for step in steps if step != "retrieve"]
    stuck = chosen[-1:] if hangs else []
    return [_use(turn, tool, talk.case, hangs=tool in stuck) for tool in chosen]


def _use(turn: Span, tool: str, case: Case, *, hangs: bool) -> Json | None:
    try:
        return tools.run(turn, tool, case, hangs=hangs)
    except StepError:
        return None


def _messages(
    talk: Conversation, turn: Span, articles: list[str], results: list[Json | None], question: str
) -> Messages:
    prompt = vocabulary.SYSTEM_PROMPTS[turn.trace.release]
    known = "".join(f"\n- {article}" for article in articles) or "\n(none)"
    found = orjson.dumps([result or {"error": "unavailable"} for result in results]).decode()
    system = f"{prompt}\n\nArticles:{known}\n\nTool results: {found}"
    return [models.message("system", system), *talk.history, models.message("user", question)]


def _write(turn: Span, messages: Messages, reply: str, *, hangs: bool) -> str:
    """Write the reply with the large model; if it fails, usually with another one."""
    try:
        return models.chat(turn, models.LARGE, messages, reply, hangs=hangs)
    except StepError:
        if turn.trace.rng.random() < _NO_FALLBACK_RATE:
            raise
        return models.chat(turn, models.OPEN, messages, reply)
