"""Calls of LlamaIndex's OpenAI model, and a query over an index."""

import os

import conversation as said
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI

BASE = {"api_base": f"{os.environ['PROVIDER']}/v1", "api_key": "sk-none", "max_retries": 0}
model = OpenAI(model=said.OPENAI_MODEL, temperature=0, **BASE)
MESSAGES = [ChatMessage(role="system", content=said.SYSTEM), ChatMessage(role="user", content=said.QUESTION)]


def stream():
    for _chunk in model.stream_chat(MESSAGES):
        pass


def retrieval():
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in said.DOCUMENTS], embed_model=OpenAIEmbedding(**BASE)
    )
    index.as_query_engine(llm=model).query(said.QUESTION)


CASES = {"chat": lambda: model.chat(MESSAGES), "stream": stream, "retrieval": retrieval}
