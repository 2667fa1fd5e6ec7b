"""Calls of `boto3` to Bedrock's Converse API, and to Amazon Titan by its other API."""

import json
import os

import boto3
import conversation as said

client = boto3.client(
    "bedrock-runtime",
    endpoint_url=os.environ["PROVIDER"],
    region_name="us-east-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",
)
if os.environ["SENDER"] == "weave":
    from weave.integrations.bedrock.bedrock_sdk import patch_client

    patch_client(client)
TOOL = {
    "name": said.TOOL_NAME,
    "description": said.TOOL_DESCRIPTION,
    "inputSchema": {"json": said.TOOL_PARAMETERS},
}


def ask(messages, **options):
    return client.converse(modelId=said.BEDROCK_MODEL, system=[{"text": said.SYSTEM}], messages=messages, **options)


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def tools():
    question = user({"text": said.WEATHER_QUESTION})
    options = {"toolConfig": {"tools": [{"toolSpec": TOOL}]}}
    called = ask([question], **options)["output"]["message"]
    result = {"toolUseId": said.CALL_ID, "content": [{"text": said.TOOL_RESULT}]}
    ask([question, called, user({"toolResult": result})], **options)


def titan():
    body = {"inputText": said.QUESTION, "textGenerationConfig": {"maxTokenCount": 50, "temperature": 0}}
    client.invoke_model(modelId=said.TITAN_MODEL, body=json.dumps(body), contentType="application/json")["body"].read()


def guarded(text, *qualifiers):
    return {"guardContent": {"text": {"text": text, "qualifiers": list(qualifiers)}}}


CASES = {
    "chat": lambda: ask([user({"text": said.QUESTION})]),
    "tools": tools,
    "image-data": lambda: ask(
        [user({"text": said.PICTURE_QUESTION}, {"image": {"format": "png", "source": {"bytes": said.PIXEL}}})]
    ),
    "reasoning": lambda: ask([user({"text": said.REASONING_QUESTION})]),
    "guardrail": lambda: ask(
        [user(guarded(said.DOCUMENTS[0], "grounding_source"), guarded(said.QUESTION, "query"))],
        guardrailConfig={"guardrailIdentifier": "loom", "guardrailVersion": "1"},
    ),
    "titan": titan,
}
