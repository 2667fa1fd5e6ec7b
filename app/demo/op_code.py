"""Source code of the demo's ops by release, as a tracing client stores it."""

from typing import Final

OBJ_FILE: Final = "obj.py"
"""File name of an op's code in Weave's client."""

_ANSWER_AT_FIRST: Final = '''\
@weave.op(name="assistant.answer")
def answer(self, question: str, history: list[dict]) -> dict:
    """Answer a customer, with articles and tools."""
    plan = self.plan(question, history)
    articles = self.retrieve(question) if "retrieve" in plan["steps"] else []
    results = [self.use(tool, question) for tool in plan["steps"] if tool != "retrieve"]
    reply = self.write(self.prompt.format(articles=articles, results=results), history, question)
    return {"answer": reply, "sources": articles, "intent": plan["intent"]}
'''
_ANSWER_WITH_FALLBACK: Final = _ANSWER_AT_FIRST.replace(
    "    reply = self.write(self.prompt.format(articles=articles, results=results), history, question)\n",
    "    system = self.prompt.format(articles=articles, results=results)\n"
    "    try:\n"
    "        reply = self.write(system, history, question)\n"
    "    except openai.APIError:\n"
    "        reply = self.write(system, history, question, model=self.fallback)\n",
)
_PREDICT: Final = '''\
@weave.op(name="SupportAssistant.predict")
def predict(self, question: str) -> str:
    """Answer from what the model knows, without articles and tools."""
    messages = [{"role": "system", "content": self.prompt.content}, {"role": "user", "content": question}]
    return complete(self.model, messages, temperature=self.temperature, max_tokens=self.max_tokens)
'''
_COMPLETE: Final = '''\
@weave.op(name="openai.chat.completions.create")
def create(model: str, messages: list[dict], temperature: float, max_tokens: int) -> dict:
    """One request to OpenAI."""
    request = dict(model=model, messages=messages, temperature=temperature, max_tokens=max_tokens)
    return client.chat.completions.create(**request)
'''
_COMPLETE_IN_TIME: Final = _COMPLETE.replace("create(**request)", "create(**request, timeout=30.0)")
_OVERLAP: Final = '''\
@weave.op(name="answer_overlap")
def answer_overlap(expected: str, output: str) -> dict:
    """How many of the expected words are in the answer, from 0 to 1."""
    words = set(expected.lower().split())
    recall = round(len(words & set(output.lower().split())) / len(words), 3)
    return {"recall": recall, "passed": recall > 0.5}
'''
_JUDGE: Final = '''\
@weave.op(name="HelpfulnessScorer.score")
def score(self, question: str, output: str) -> dict:
    """A grade from 1 to 5, with a reason."""
    asked = f"Question: {question}\\nAnswer: {output}"
    return json.loads(complete(self.model, [system(self.prompt.content), user(asked)]))
'''
_EVALUATE: Final = '''\
@weave.op(name="Evaluation.evaluate")
async def evaluate(self, model: Model) -> dict:
    """Ask a model for every example of the sample, four at a time."""
    sample = random.Random(0).sample(self.dataset.rows, self.metadata["sample"])
    results = await gather(4, (self.predict_and_score(model, example) for example in sample))
    return await self.summarize(results)
'''
_PREDICT_AND_SCORE: Final = '''\
@weave.op(name="Evaluation.predict_and_score")
async def predict_and_score(self, model: Model, example: dict) -> dict:
    """One answer, with what each scorer says of it."""
    output, seconds = await timed(model.predict, example["question"])
    scores = {scorer.name: await scorer.score(example, output) for scorer in self.scorers}
    return {"output": output, "scores": scores, "model_latency": seconds}
'''
_SUMMARIZE: Final = '''\
@weave.op(name="Evaluation.summarize")
async def summarize(self, rows: list[dict]) -> dict:
    """The means of what the scorers say."""
    return {scorer.name: scorer.summarize([row["scores"][scorer.name] for row in rows]) for scorer in self.scorers}
'''

CODE: Final = {
    "assistant.answer": {"2.1.0": _ANSWER_AT_FIRST, "2.3.1": _ANSWER_WITH_FALLBACK},
    "SupportAssistant.predict": {"2.1.0": _PREDICT},
    "openai.chat.completions.create": {"2.1.0": _COMPLETE, "2.4.0": _COMPLETE_IN_TIME},
    "answer_overlap": {"2.1.0": _OVERLAP},
    "HelpfulnessScorer.score": {"2.1.0": _JUDGE},
    "Evaluation.evaluate": {"2.1.0": _EVALUATE},
    "Evaluation.predict_and_score": {"2.1.0": _PREDICT_AND_SCORE},
    "Evaluation.summarize": {"2.1.0": _SUMMARIZE},
}
"""Code of each op, by the first release that uses it."""
