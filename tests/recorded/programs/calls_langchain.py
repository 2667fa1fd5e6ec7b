"""Calls of LangChain's chat model, a chain, a tool, an agent and a retriever."""

import os

import conversation as said
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model=said.OPENAI_MODEL, base_url=f"{os.environ['PROVIDER']}/v1", api_key="sk-none", max_retries=0, temperature=0
)
CALLBACKS = []
if os.environ.get("SENDER") == "langfuse":
    from langfuse.langchain import CallbackHandler

    CALLBACKS.append(CallbackHandler())
CONFIG = {"callbacks": CALLBACKS}


@tool(said.TOOL_NAME, description=said.TOOL_DESCRIPTION)
def get_temperature(city: str) -> str:
    return said.TOOL_RESULT


class Shelf(BaseRetriever):
    """A retriever of fixed documents."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content=text, metadata={"shelf": 1}) for text in said.DOCUMENTS]


def chat():
    model.invoke([SystemMessage(said.SYSTEM), HumanMessage(said.QUESTION)], CONFIG)


def stream():
    for _chunk in model.stream([SystemMessage(said.SYSTEM), HumanMessage(said.QUESTION)], CONFIG, stream_usage=True):
        pass


def chain():
    prompt = ChatPromptTemplate.from_messages([("system", said.SYSTEM), ("human", "{question}")])
    (prompt | model | StrOutputParser()).invoke({"question": said.QUESTION}, CONFIG)


def tools():
    bound = model.bind_tools([get_temperature])
    messages = [SystemMessage(said.SYSTEM), HumanMessage(said.WEATHER_QUESTION)]
    called: AIMessage = bound.invoke(messages, CONFIG)
    result: ToolMessage = get_temperature.invoke(called.tool_calls[0], CONFIG)
    bound.invoke([*messages, called, result], CONFIG)


def agent():
    from langchain.agents import create_agent

    built = create_agent(model, [get_temperature], system_prompt=said.SYSTEM)
    built.invoke({"messages": [{"role": "user", "content": said.WEATHER_QUESTION}]}, CONFIG)


def image():
    parts = [
        {"type": "text", "text": said.PICTURE_QUESTION},
        {"type": "image_url", "image_url": {"url": said.PIXEL_URL}},
    ]
    model.invoke([HumanMessage(parts)], CONFIG)


CASES = {
    "chat": chat,
    "stream": stream,
    "chain": chain,
    "tools": tools,
    "agent": agent,
    "image-data": image,
    "retrieval": lambda: Shelf().invoke(said.QUESTION, CONFIG),
}
