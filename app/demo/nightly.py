"""A nightly batch job that summarises the day's tickets, with a chart, for the morning meeting."""

from collections import Counter

from app.demo import models, pictures, vocabulary
from app.demo.cases import Case
from app.demo.span import Json, Span, StepError, new_id
from app.demo.topics import TOPICS, Topic
from app.demo.world import HOUR, World

_MOODS = ("calm", "calm", "hopeful", "impatient", "angry")


def night(world: World, days_ago: int) -> Span:
    """Record the run of one night, at 02:00 UTC."""
    rng = world.rng
    started_at = world.timestamp(days_ago, 2 * HOUR + rng.randrange(HOUR // 60))
    run_id = f"{world.library.project_id}/nightly-{rng.getrandbits(32):08x}"
    trace = world.trace(started_at, "production", "eu-central-1", "nightly-jobs", wb_run_id=run_id)
    topics = rng.choices(TOPICS, k=rng.randint(9, 17))
    with trace.root("tickets.summarise_night", {"queue": "support", "tickets": len(topics)}, started_at) as batch:
        lines = [_summarise(batch, topic, Case.draw(rng)) for topic in topics]
        areas = Counter(sorted(topic.area for topic in topics))
        batch.output = {
            "summaries": [line for line in lines if line],
            "failed": lines.count(None),
            "areas": dict(areas),
            "chart": _chart(world, areas),
        }
    return batch


def _chart(world: World, areas: Counter[str]) -> Json:
    """Return a bar chart of the areas, as a file."""
    chart = pictures.bar_chart(list(areas.values()))
    value, files = pictures.content(chart, "tickets-by-area.png", new_id(world.rng))
    world.library.files += files
    return value


def _summarise(batch: Span, topic: Topic, case: Case) -> Json | None:
    """Return one line for the meeting; None if the summary fails, so that the ticket waits for the next night."""
    rng = batch.trace.rng
    ticket = case.tell(rng.choice(topic.exchanges)[0])
    line = (
        case.tell("{first_name} ({city}): {product}.")
        + f" {topic.area}, priority {rng.randint(1, 3)}, {rng.choice(_MOODS)}"
    )
    summary = {"ticket_id": case.case_number, "summary": line}
    try:
        with batch.step("summarise_ticket", {"ticket_id": case.case_number, "text": ticket}) as call:
            messages = [models.message("system", vocabulary.SUMMARY_PROMPT), models.message("user", ticket)]
            models.chat(call, models.OPEN, messages, line)
            call.output = summary
    except StepError:
        return None
    else:
        return summary
