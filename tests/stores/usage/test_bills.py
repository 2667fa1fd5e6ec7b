"""Tests that the costs of the corpus's payloads equal a manual calculation exactly."""

from decimal import Decimal
from typing import Any, Final

import pytest

from stores.costs import Price, Prices, bill
from stores.database import Database
from tests.stores.costs.prices import price
from tests.stores.usage.corpus import PAYLOADS, Payload
from tests.stores.usage.test_rules import ids, kept, of_span

_RATES: Final[tuple[tuple[tuple[str, ...], dict[str, str]], ...]] = (
    (
        (
            "gpt-4o",
            "gpt-4o-2024-08-06",
            "gpt-4o-2024-11-20",
            "openai/gpt-4o",
        ),
        {"input": "2.5", "cache_read": "1.25", "output": "10", "web_searches": "25000"},
    ),
    (("gpt-4o-mini",), {"input": "0.15", "cache_read": "0.075", "output": "0.6"}),
    (("ft:gpt-4o-mini-2024-07-18:acme::A1b2",), {"input": "0.3", "cache_read": "0.15", "output": "1.2"}),
    (("gpt-4",), {"input": "30", "output": "60"}),
    (
        ("gpt-4.1",),
        {"input": "2", "cache_read": "0.5", "output": "8", "web_searches": "10000"},
    ),
    (
        (
            "gpt-5",
            "gpt-5.6",
        ),
        {"input": "1.25", "cache_read": "0.125", "output": "10", "cache_write_5m": "1.5625"},
    ),
    (("gpt-5-mini",), {"input": "0.25", "cache_read": "0.025", "output": "2"}),
    (
        (
            "o1",
            "o1-2024-12-17",
        ),
        {"input": "15", "cache_read": "7.5", "output": "60"},
    ),
    (
        (
            "o3",
            "openai/o3",
        ),
        {"input": "2", "cache_read": "0.5", "output": "8"},
    ),
    (("o3-mini",), {"input": "1.1", "cache_read": "0.55", "output": "4.4"}),
    (("o4-mini",), {"input": "1.1", "cache_read": "0.275", "output": "4.4"}),
    (("gpt-4o-audio-preview",), {"input": "2.5", "output": "10", "audio_input": "40", "audio_output": "80"}),
    (
        ("gpt-realtime",),
        {
            "input": "4",
            "cache_read": "0.4",
            "output": "16",
            "audio_input": "32",
            "cache_read_audio": "0.44",
            "audio_output": "64",
            "image_input": "5",
        },
    ),
    (
        ("gpt-4o-realtime-preview",),
        {
            "input": "5",
            "cache_read": "2.5",
            "output": "20",
            "audio_input": "40",
            "cache_read_audio": "2.6",
            "audio_output": "80",
        },
    ),
    (
        ("gpt-4o-mini-realtime-preview",),
        {
            "input": "0.6",
            "cache_read": "0.3",
            "output": "2.4",
            "audio_input": "10",
            "cache_read_audio": "0.35",
            "audio_output": "20",
        },
    ),
    (("gpt-4o-transcribe",), {"input": "2.5", "output": "10", "audio_input": "6"}),
    (("gpt-4o-mini-transcribe",), {"input": "1.25", "output": "5", "audio_input": "3"}),
    (("whisper-1",), {"input": "0", "output": "0"}),
    (
        (
            "gpt-image-1",
            "gpt-image-1.5",
        ),
        {"input": "5", "cache_read": "1.25", "image_input": "10", "output": "0", "image_output": "40"},
    ),
    (("text-embedding-3-small",), {"input": "0.02", "output": "0"}),
    (
        (
            "claude-sonnet-4-5",
            "claude-sonnet-4-5-20250929",
            "claude-3-5-sonnet-20240620",
            "claude-3-5-sonnet-20241022",
            "claude-sonnet-4@20250514",
            "anthropic/claude-sonnet-4.5",
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "anthropic.claude-sonnet-4-20250514-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "bedrock/anthropic.claude-sonnet-4-20250514-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        {
            "input": "3",
            "cache_read": "0.3",
            "output": "15",
            "cache_write_5m": "3.75",
            "cache_write_1h": "6",
            "web_searches": "10000",
        },
    ),
    (
        (
            "claude-opus-4-1-20250805",
            "claude-3-opus-20240229",
        ),
        {
            "input": "15",
            "cache_read": "1.5",
            "output": "75",
            "cache_write_5m": "18.75",
            "cache_write_1h": "30",
            "web_searches": "10000",
        },
    ),
    (
        (
            "claude-haiku-4-5-20251001",
            "anthropic/claude-haiku-4.5",
        ),
        {
            "input": "1",
            "cache_read": "0.1",
            "output": "5",
            "cache_write_5m": "1.25",
            "cache_write_1h": "2",
            "web_searches": "10000",
        },
    ),
    (
        (
            "gemini-2.5-flash",
            "gemini-2.5-flash-preview",
            "gemini-2.5-flash-image",
            "google/gemini-2.5-flash-image",
            "gemini-2.5-flash-preview-tts",
            "gemini-live-2.5-flash-preview",
            "gemini-2.5-flash-native-audio",
        ),
        {
            "input": "0.3",
            "cache_read": "0.03",
            "output": "2.5",
            "audio_input": "1",
            "cache_read_audio": "0.1",
            "image_output": "30",
            "audio_output": "12",
            "web_searches": "35000",
        },
    ),
    (
        ("gemini-2.0-flash",),
        {"input": "0.1", "cache_read": "0.025", "output": "0.4", "audio_input": "0.7", "cache_read_audio": "0.175"},
    ),
    (
        (
            "gemini-2.5-pro",
            "gemini/gemini-2.5-pro",
        ),
        {"input": "1.25", "cache_read": "0.125", "output": "10", "web_searches": "35000"},
    ),
    (
        (
            "amazon.nova-pro-v1:0",
            "us.amazon.nova-pro-v1:0",
        ),
        {"input": "0.8", "cache_read": "0.2", "output": "3.2"},
    ),
    (("amazon.nova-lite-v1:0",), {"input": "0.06", "cache_read": "0.015", "output": "0.24"}),
    (("amazon.nova-micro-v1:0",), {"input": "0.035", "cache_read": "0.00875", "output": "0.14"}),
    (("deepseek-chat",), {"input": "0.27", "cache_read": "0.07", "output": "1.1"}),
    (("deepseek-reasoner", "deepseek-r1"), {"input": "0.55", "cache_read": "0.14", "output": "2.19"}),
    (("mistral-large-latest",), {"input": "2", "output": "6"}),
    (("mistral-medium-latest",), {"input": "0.4", "output": "2"}),
    (("voxtral-small-latest",), {"input": "0.1", "output": "0.3", "audio_input": "0.4"}),
    (("llama-3.3-70b-versatile",), {"input": "0.59", "output": "0.79"}),
    (("openai/gpt-oss-120b",), {"input": "0.15", "cache_read": "0.075", "output": "0.6"}),
    (("moonshotai/kimi-k2-instruct",), {"input": "1", "cache_read": "0.5", "output": "3"}),
    (("kimi-k2",), {"input": "0.6", "cache_read": "0.15", "output": "2.5"}),
    (
        (
            "grok-4",
            "grok-4.3",
        ),
        {"input": "3", "cache_read": "0.75", "output": "15", "web_searches": "25000"},
    ),
    (("grok-3-mini",), {"input": "0.3", "cache_read": "0.075", "output": "0.5"}),
    (("grok-4-fast-non-reasoning",), {"input": "0.2", "cache_read": "0.05", "output": "0.5"}),
    (("sonar",), {"input": "1", "output": "1", "web_searches": "5000"}),
    (("sonar-deep-research",), {"input": "2", "output": "8", "reasoning": "3", "web_searches": "5000"}),
    (("qwen-plus",), {"input": "0.4", "cache_read": "0.08", "output": "1.2", "cache_write_5m": "0.5"}),
    (("qwen3-max",), {"input": "1.2", "cache_read": "0.24", "output": "6", "cache_write_5m": "1.5"}),
    (
        (
            "command-a-03-2025",
            "command-r-plus",
        ),
        {"input": "2.5", "output": "10"},
    ),
    (("command-r",), {"input": "0.15", "output": "0.6"}),
    (("gpt-3.5-turbo-instruct",), {"input": "1.5", "output": "2"}),
    (("omni-moderation-latest",), {"input": "0", "output": "0"}),
    (("meta-llama/Llama-3.3-70B-Instruct-Turbo",), {"input": "0.88", "output": "0.88"}),
    (("accounts/fireworks/models/kimi-k2-instruct",), {"input": "0.6", "cache_read": "0.3", "output": "2.5"}),
    (("gpt-oss-120b",), {"input": "0.35", "output": "0.75"}),
    (("Qwen/Qwen3-32B",), {"input": "0.1", "cache_read": "0.05", "output": "0.3"}),
    (("glm-4.6",), {"input": "0.6", "cache_read": "0.11", "output": "2.2"}),
    (("voyage-3-large",), {"input": "0.18", "output": "0"}),
    (("jina-embeddings-v3",), {"input": "0.05", "output": "0"}),
    (("mistral-ocr-latest",), {"input": "1", "output": "1"}),
    (
        ("anthropic.claude-3-haiku-20240307-v1:0",),
        {"input": "0.25", "cache_read": "0.03", "output": "1.25", "cache_write_5m": "0.3"},
    ),
    (
        ("claude-opus-4-8",),
        {
            "input": "5",
            "cache_read": "0.5",
            "output": "25",
            "cache_write_5m": "6.25",
            "cache_write_1h": "10",
            "web_searches": "10000",
        },
    ),
    (("m",), {"input": "1", "cache_read": "0.1", "output": "2"}),
)
"""Models, and the price of each of their classes in US dollars per million tokens or searches."""

BILLS: Final = {
    "chat, plain": "19 * 2.5 + 10 * 10",
    "chat, details of zeros": "19 * 2.5 + 10 * 10",
    "chat, cached prompt": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "chat, all of the prompt but 3 tokens cached": "3 * 0.15 + 1152 * 0.075 + 41 * 0.6",
    "chat, reasoning": "75 * 1.1 + 162 * 4.4 + 1024 * 4.4",
    "chat, cached prompt and reasoning": "203 * 1.25 + 4608 * 0.125 + 266 * 10 + 1984 * 10",
    "chat, nothing but reasoning": "210 * 15 + 2048 * 60",
    "chat, spoken question": "10 * 2.5 + 120 * 40 + 24 * 10",
    "chat, spoken answer": "17 * 2.5 + 49 * 10 + 214 * 80",
    "chat, spoken question and answer": "45 * 2.5 + 301 * 40 + 77 * 10 + 333 * 80",
    "chat, image in the prompt": "13 * 2.5 + 1105 * 2.5 + 66 * 10",
    "chat, predicted output": "276 * 2.5 + 239 * 10",
    "chat, tokens written to the cache": "176 * 1.25 + 1024 * 0.125 + 3800 * 1.5625 + 90 * 10",
    "chat, details of null": "12 * 30 + 9 * 60",
    "chat, members of details of null": "92 * 2.5 + 1408 * 1.25 + 9 * 10",
    "chat, Weave's own count of requests": "120 * 2.5 + 1280 * 1.25 + 200 * 10",
    "chat, the sum of three calls by Weave's client": "1640 * 2.5 + 2560 * 1.25 + 570 * 10 + 30 * 10",
    "chat, no total": "276 * 2.5 + 1024 * 1.25 + 50 * 10",
    "chat, fine-tuned model": "812 * 0.3 + 77 * 1.2",
    "chat, Azure": "158 * 2.5 + 1408 * 1.25 + 1518 * 10",
    "chat, Azure with reasoning": "158 * 15 + 1408 * 7.5 + 942 * 60 + 576 * 60",
    "response, plain": "36 * 2 + 87 * 8",
    "response, cached input": "161 * 2 + 7552 * 0.5 + 87 * 8",
    "response, reasoning": "81 * 1.1 + 203 * 4.4 + 832 * 4.4",
    "response, cached input and reasoning": "106 * 0.25 + 11904 * 0.025 + 457 * 2 + 2944 * 2",
    "response, tokens written to the cache": "404 * 1.25 + 4096 * 0.125 + 4500 * 1.5625 + 56 * 10 + 64 * 10",
    "response, the sum of an agent's turns": "8496 * 1.25 + 21504 * 0.125 + 1800 * 10 + 3200 * 10",
    "response, details of null": "30 * 2 + 6 * 8",
    "realtime, text and audio": "55 * 5 + 64 * 2.5 + 13 * 40 + 30 * 20 + 91 * 80",
    "realtime, cached audio": "124 * 4 + 576 * 0.4 + 320 * 0.44 + 180 * 32 + 40 * 16 + 160 * 64",
    "realtime, image": "300 * 4 + 100 * 32 + 500 * 5 + 20 * 16 + 40 * 64",
    "realtime, cached image": "172 * 4 + 384 * 0.4 + 64 * 0.44 + 36 * 32 + 344 * 5 + 60 * 16",
    "realtime, text alone": "60 * 0.6 + 15 * 2.4",
    "transcription": "14 * 6 + 45 * 10",
    "transcription with a prompt": "20 * 1.25 + 600 * 3 + 130 * 5",
    "transcription by duration": "0 * 0",
    "image": "10 * 5 + 40 * 10 + 50 * 40",
    "image of text": "13 * 5 + 4160 * 40",
    "image with details of the output": "26 * 5 + 194 * 10 + 224 * 0 + 1056 * 40",
    "embedding": "8 * 0.02",
    "DeepSeek, cache hit": "92 * 0.27 + 1408 * 0.07 + 220 * 1.1",
    "DeepSeek, cache hit without details": "64 * 0.27 + 576 * 0.07 + 10 * 1.1",
    "DeepSeek, cache miss": "64 * 0.27 + 10 * 1.1",
    "DeepSeek, reasoning": "44 * 0.55 + 256 * 0.14 + 200 * 2.19 + 700 * 2.19",
    "Mistral, plain": "16 * 2 + 34 * 6",
    "Mistral, cached prompt": "52 * 0.4 + 2048 * 0.4 + 34 * 2",
    "Mistral, seconds of audio": "400 * 0.1 + 34 * 0.3",
    "Groq, plain": "38 * 0.59 + 140 * 0.79",
    "Groq, cached prompt": "33 * 1 + 4608 * 0.5 + 1817 * 3",
    "Groq, reasoning": "90 * 0.15 + 130 * 0.6 + 180 * 0.6",
    "xAI, reasoning beside the output": "26 * 0.3 + 6 * 0.075 + 9 * 0.5 + 94 * 0.5",
    "xAI, image": "76 * 3 + 1024 * 3 + 50 * 15 + 400 * 15",
    "xAI, no reasoning": "52 * 0.2 + 448 * 0.05 + 60 * 0.5",
    "xAI, response with its cost": "500 * 3 + 1500 * 0.75 + 200 * 15 + 500 * 15 + 2 * 25000",
    "xAI without its own members": "100 * 3 + 40 * 15 + 200 * 15",
    "Perplexity, sonar": "8 * 1 + 439 * 1",
    "Perplexity, deep research": "20049 * 2 + 7163 * 8 + 73997 * 3 + 18 * 5000",
    "Perplexity, deep research with its cost": "1009 * 2 + 100 * 8 + 500 * 3 + 2 * 5000",
    "OpenRouter, plain with its cost": "194 * 2.5 + 2 * 10",
    "OpenRouter, cached prompt and reasoning": "21 * 2 + 10318 * 0.5 + 20 * 8 + 40 * 8",
    "OpenRouter, Claude with tokens written to the cache": "18 * 3 + 3000 * 3.75 + 220 * 15",
    "OpenRouter, images made": "12 * 0.3 + 13 * 2.5 + 1290 * 30",
    "OpenRouter, web search": "900 * 2 + 100 * 8 + 1 * 10000",
    "Qwen, implicit cache": "971 * 0.4 + 2048 * 0.08 + 104 * 1.2",
    "Qwen, explicit cache": "12 * 1.2 + 1494 * 1.5 + 10 * 6",
    "Moonshot, cached prompt": "8 * 0.6 + 1792 * 0.15 + 20 * 2.5",
    "Cohere, billed units": "5 * 2.5 + 418 * 10",
    "Cohere, tokens alone": "71 * 0.15 + 40 * 0.6",
    "Cohere, floats": "17 * 2.5 + 12 * 10",
    "OpenAI's older completions": "5 * 1.5 + 7 * 2",
    "OpenAI's moderation": "0 * 0",
    "Together": "36 * 0.88 + 100 * 0.88",
    "Fireworks, cached prompt": "18 * 0.6 + 1024 * 0.3 + 18 * 2.5",
    "Cerebras, reasoning": "80 * 0.35 + 90 * 0.75 + 150 * 0.75",
    "vLLM": "41 * 0.1 + 50 * 0.3",
    "vLLM, cached prefix": "10 * 0.1 + 400 * 0.05 + 50 * 0.3",
    "Z.ai, cached prompt and reasoning": "400 * 0.6 + 800 * 0.11 + 180 * 2.2 + 120 * 2.2",
    "Voyage, embedding": "10 * 0.18",
    "Jina, embedding": "120 * 0.05",
    "Mistral, pages of documents": "0 * 0",
    "OpenRouter, a provider's key of one's own": "100 * 1 + 10 * 5",
    "Bedrock by Weave's client": "30 * 0.25 + 40 * 1.25",
    "both names of each count": "30 * 2.5 + 40 * 10",
    "Claude, plain": "2095 * 3 + 503 * 15",
    "Claude, no cache": "2095 * 3 + 503 * 15",
    "Claude, nulls": "10 * 3 + 5 * 15",
    "Claude, first turn of a cached conversation": "21 * 3 + 188086 * 3.75 + 393 * 15",
    "Claude, next turn of a cached conversation": "21 * 3 + 188086 * 0.3 + 393 * 15",
    "Claude, both lives of a cache": "2048 * 3 + 1800 * 0.3 + 148 * 3.75 + 100 * 6 + 503 * 15",
    "Claude, a cache of an hour": "4 * 15 + 52110 * 30 + 210 * 75",
    "Claude, an agent's turn": "3 * 1 + 41210 * 0.1 + 1904 * 1.25 + 812 * 5",
    "Claude, cache without the lives": "100 * 3 + 512 * 0.3 + 1024 * 3.75 + 50 * 15",
    "Claude, web search": "105 * 3 + 7123 * 0.3 + 7345 * 3.75 + 6039 * 15 + 1 * 10000",
    "Claude, web search without a cache": "6039 * 3 + 931 * 15 + 3 * 10000",
    "Claude, the sum of two calls by Weave's client": "24 * 3 + 30000 * 0.3 + 1500 * 3.75 + 900 * 15",
    "Claude, total with the cache": "500 * 3 + 300 * 0.3 + 100 * 15",
    "Claude, total that shows that the input includes the cache": "200 * 3 + 300 * 0.3 + 100 * 15",
    "Claude on Vertex": "12 * 3 + 2000 * 0.3 + 40 * 15",
    "Claude by InvokeModel of Bedrock": "12 * 3 + 2222 * 0.3 + 40 * 15",
    "Claude, null in place of the cache's lives": "7 * 3 + 4096 * 0.3 + 1 * 15",
    "Claude, thinking": "48 * 5 + 410 * 25 + 1900 * 25",
    "Claude, thinking and a cache of both lives": "5 * 5 + 20000 * 0.5 + 1000 * 6.25 + 2000 * 10 + 300 * 25 + 600 * 25",
    "Claude Agent SDK": "24 * 3 + 84210 * 0.3 + 12040 * 3.75 + 1210 * 15 + 1 * 10000",
    "Claude Agent SDK, no cache": "310 * 1 + 25 * 5",
    "LiteLLM, Claude read from the cache": "100 * 3 + 1920 * 0.3 + 300 * 15",
    "LiteLLM, Claude written to the cache": "100 * 3 + 3000 * 3.75 + 20 * 15",
    "LiteLLM, Claude, both lives of a cache": "100 * 3 + 1000 * 0.3 + 500 * 3.75 + 2500 * 6 + 20 * 15",
    "LiteLLM, Claude with web search": "9000 * 3 + 700 * 15 + 2 * 10000",
    "LiteLLM, GPT": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "LiteLLM, Gemini with reasoning": "600 * 1.25 + 400 * 10 + 1500 * 10",
    "LiteLLM, Bedrock": "100 * 3 + 5000 * 0.3 + 70 * 15",
    "Bedrock Converse, plain": "125 * 0.8 + 60 * 3.2",
    "Bedrock Converse, read from the cache": "4 * 3 + 1162 * 0.3 + 71 * 15",
    "Bedrock Converse, written to the cache": "4 * 3 + 1162 * 3.75 + 70 * 15",
    "Bedrock Converse, total without the cache": "2000 * 0.06 + 1500 * 0.015 + 100 * 0.24",
    "Bedrock Converse, both lives of a cache": "10 * 3 + 1000 * 0.3 + 500 * 3.75 + 1500 * 6 + 5 * 15",
    "Bedrock Converse, older names of the cache's counts": "30 * 0.035 + 1000 * 0.00875 + 5 * 0.14",
    "Gemini, plain": "4 * 0.1 + 10 * 0.4",
    "Gemini, modality of text": "4 * 0.1 + 715 * 0.4",
    "Gemini, thoughts": "1234 * 1.25 + 456 * 10 + 789 * 10",
    "Gemini, cached content": "3130 * 0.3 + 40000 * 0.03 + 120 * 2.5",
    "Gemini, cached content and thoughts": "911 * 0.3 + 4089 * 0.03 + 200 * 2.5 + 800 * 2.5",
    "Gemini, thoughts that the candidates include": "100 * 0.3 + 200 * 2.5 + 300 * 2.5",
    "Gemini, thoughts alone": "20 * 1.25 + 65 * 10",
    "Gemini, prompts for tools": "8050 * 0.3 + 300 * 2.5 + 400 * 2.5",
    "Gemini, audio in the prompt": "12 * 0.3 + 320 * 1 + 80 * 2.5",
    "Gemini, image in the prompt": "7 * 0.3 + 258 * 0.3 + 33 * 2.5",
    "Gemini, video in the prompt": "2637 * 0.3 + 520 * 1 + 90 * 2.5",
    "Gemini, cached audio": "20 * 0.3 + 1000 * 0.03 + 8000 * 0.1 + 1000 * 1 + 50 * 2.5",
    "Gemini, cached image": "242 * 1.25 + 2500 * 0.125 + 258 * 1.25 + 50 * 10",
    "Gemini, image made": "10 * 0.3 + 5 * 2.5 + 1290 * 30",
    "Gemini, speech made": "12 * 0.3 + 148 * 12",
    "Gemini, answer refused": "12 * 0.3",
    "Gemini by Google's client for Python": "476 * 0.3 + 1024 * 0.03 + 100 * 2.5 + 500 * 2.5",
    "Gemini by Google's client for Python, audio": "10 * 0.1 + 400 * 0.7 + 30 * 0.4",
    "Gemini, Weave's count of requests": "60 * 0.3 + 30 * 2.5 + 10 * 2.5",
    "Gemini Live, speech": "500 * 0.3 + 400 * 1 + 240 * 12",
    "Gemini Live, thoughts": "900 * 0.3 + 40 * 2.5 + 60 * 2.5 + 200 * 12",
    "LangChain, OpenAI": "240 * 2.5 + 100 * 1.25 + 10 * 2.5 + 30 * 10 + 200 * 10 + 10 * 10",
    "LangChain, Claude": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "LangChain, Claude with the lives of a cache": "12 * 3 + 2000 * 0.3 + 500 * 3.75 + 1000 * 6 + 80 * 15",
    "LangChain, Gemini": "120 * 0.3 + 200 * 2.5 + 700 * 2.5",
    "LangChain, no details": "8 * 0.15 + 304 * 0.6",
    "AI SDK 5": "220 * 1.25 + 1280 * 0.125 + 80 * 10 + 320 * 10",
    "AI SDK 6": "4 * 3 + 3000 * 0.3 + 100 * 3.75 + 50 * 15",
    "AI SDK 4": "19 * 2.5 + 10 * 10",
    "counts that LoomQL states of all classes": "10 * 1 + 100 * 0.1 + 50 * 1 + 20 * 2 + 10 * 2",
    "GenAI, plain": "100 * 2.5 + 180 * 10",
    "GenAI, read from the cache": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "GenAI, written to the cache": "100 * 3 + 1000 * 0.3 + 3900 * 3.75 + 30 * 15",
    "GenAI, the older name of tokens written to the cache": "1100 * 3 + 3900 * 3.75 + 30 * 15",
    "GenAI, reasoning": "75 * 2 + 162 * 8 + 1024 * 8",
    "GenAI, all classes of text": "404 * 1.25 + 4096 * 0.125 + 4500 * 1.5625 + 56 * 10 + 64 * 10",
    "GenAI, Anthropic's input without the cache, which exceeds it": "21 * 3 + 188086 * 0.3 + 393 * 15",
    "GenAI, Anthropic's input without the cache, by the total": "500 * 3 + 300 * 0.3 + 100 * 15",
    "GenAI, Anthropic's input with the cache, by the total": "200 * 3 + 300 * 0.3 + 100 * 15",
    "GenAI, counts as strings": "92 * 2.5 + 1408 * 1.25 + 20 * 10",
    "GenAI, audio": "119 * 4 + 13 * 32 + 30 * 16 + 91 * 64",
    "GenAI, zeros": "10 * 2.5 + 5 * 10",
    "GenAI, older names of the totals": "92 * 2.5 + 1408 * 1.25 + 20 * 10",
    "OpenLLMetry, OpenAI": "125 * 2.5 + 1024 * 1.25 + 315 * 10",
    "OpenLLMetry, OpenAI with reasoning": "50 * 1.1 + 60 * 4.4 + 640 * 4.4",
    "OpenLLMetry, the older name of reasoning": "50 * 1.1 + 60 * 4.4 + 640 * 4.4",
    "OpenLLMetry, Anthropic written to the cache": "4 * 3 + 1163 * 3.75 + 187 * 15",
    "OpenLLMetry, Anthropic read from the cache": "4 * 3 + 1163 * 0.3 + 202 * 15",
    "OpenLLMetry, Bedrock, whose total does not tell": "2000 * 0.8 + 1500 * 0.2 + 100 * 3.2",
    "OpenLLMetry, Bedrock written to the cache": "4 * 3 + 1162 * 3.75 + 70 * 15",
    "OpenInference, OpenAI": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "OpenInference, reasoning": "75 * 1.1 + 162 * 4.4 + 1024 * 4.4",
    "OpenInference, audio": "45 * 2.5 + 301 * 40 + 77 * 10 + 333 * 80",
    "OpenInference, Anthropic": "3 * 3 + 41210 * 0.3 + 1904 * 3.75 + 812 * 15",
    "OpenInference, Anthropic, before the prompt included the cache": "21 * 3 + 2000 * 0.3 + 393 * 15",
    "OpenInference, Bedrock": "4 * 3 + 1162 * 0.3 + 71 * 15",
    "OpenInference, costs": "1000 * 2.5 + 100 * 10",
    "OpenInference, costs without their total": "1000 * 2.5 + 100 * 10",
    "OpenInference, details of a cost, and cached tokens": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "AI SDK 5, OpenAI": "220 * 0.25 + 1280 * 0.025 + 80 * 2 + 320 * 2",
    "AI SDK 5, Anthropic read from the cache, whose total does not tell": "500 * 3 + 300 * 0.3 + 100 * 15",
    "AI SDK 5, Anthropic written to the cache": "4 * 3 + 3000 * 3.75 + 50 * 15",
    "AI SDK 5, Bedrock": "2000 * 3 + 1000 * 0.3 + 700 * 3.75 + 60 * 15",
    "AI SDK 5, Gemini": "120 * 0.3 + 200 * 2.5 + 700 * 2.5",
    "AI SDK 6, Anthropic": "4 * 3 + 3000 * 0.3 + 100 * 3.75 + 50 * 15",
    "AI SDK 6, OpenAI with reasoning": "81 * 1.25 + 203 * 10 + 832 * 10",
    "AI SDK 4, a span": "19 * 2.5 + 10 * 10",
    "Langfuse, input and output": "10 * 2.5 + 5 * 10",
    "Langfuse, cached input beside it": "10 * 15 + 100 * 1.5 + 5 * 75",
    "Langfuse, cached input with the input, by the total": "100 * 2.5 + 100 * 1.25 + 5 * 10",
    "Langfuse, LangChain": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 30 * 15",
    "Langfuse, reasoning beside the output": "75 * 2 + 162 * 8 + 1024 * 8",
    "Langfuse, audio beside both": "45 * 2.5 + 301 * 40 + 77 * 10 + 333 * 80",
    "Langfuse, OpenAI's shape": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "Langfuse, OpenAI's shape of a response": "81 * 1.25 + 203 * 10 + 832 * 10",
    "Langfuse, total of the cost": "10 * 2.5 + 5 * 10",
    "Langfuse, parts of the cost": "10 * 2.5 + 5 * 10",
    "Langfuse, no total": "21 * 3 + 10 * 0.3 + 393 * 15",
    "Pydantic AI, Anthropic": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "Pydantic AI, details alone": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "Pydantic AI, audio": "124 * 4 + 576 * 0.4 + 320 * 0.44 + 180 * 32 + 40 * 16 + 160 * 64",
    "Pydantic AI, Gemini's thoughts": "1234 * 1.25 + 456 * 10 + 789 * 10",
    "Strands, Bedrock": "2000 * 3 + 1000 * 0.3 + 700 * 3.75 + 60 * 15",
    "Strands, OpenAI": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "OpenLIT, cost": "1000 * 2.5 + 100 * 10",
    "GenAI, Bedrock's input without the cache, which exceeds it": "12 * 0.8 + 700 * 0.2 + 50 * 0.8 + 30 * 3.2",
    "GenAI, images": "10 * 5 + 40 * 10 + 60 * 40",
    "OpenInference, Gemini with thoughts": "1234 * 1.25 + 456 * 10 + 789 * 10",
    "OpenInference, Gemini's thoughts beside the completion": "100 * 0.3 + 200 * 2.5 + 700 * 2.5",
    "OpenLLMetry, LangChain": "3 * 0.15 + 1152 * 0.075 + 41 * 0.6",
    "AI SDK 5, embedding": "8 * 0.02",
    "AI SDK 6, all of Claude's prompt cached": "3000 * 0.3 + 50 * 15",
    "AI SDK 5, Claude by a router, which includes the cache": "100 * 3 + 2900 * 0.3 + 50 * 15",
    "Langfuse, one attribute for each count": "10 * 2.5 + 90 * 1.25 + 5 * 10",
    "LiteLLM's spans, cost": "1000 * 2.5 + 100 * 10",
    "MLflow, a cached prompt": "86 * 2.5 + 1920 * 1.25 + 300 * 10",
    "Gemini, cached content and thoughts, no total": "911 * 0.3 + 4089 * 0.03 + 800 * 2.5 + 200 * 2.5",
    "Gemini by Google's client for Python, cached audio and images, and prompts for tools": (
        "1226 * 0.3 + 758 * 0.03 + 8000 * 0.1 + 1000 * 1 + 516 * 0.3 + 100 * 2.5"
    ),
    "Gemini by Google's client for Python, image made": "10 * 0.3 + 5 * 2.5 + 1290 * 30",
    "Gemini by Google's client for Python, speech made": "12 * 0.3 + 148 * 12",
    "Gemini Live by Google's client for Python": "500 * 0.3 + 400 * 1 + 60 * 2.5 + 240 * 12",
    "AI SDK 5, Claude, whose input excludes the cache": "4 * 3 + 3000 * 0.3 + 50 * 15",
    "AI SDK 6, cached input and reasoning, no total": "4 * 3 + 3000 * 0.3 + 100 * 3.75 + 580 * 15 + 320 * 15",
    "Claude Agent SDK, no count of written tokens": "3 * 3 + 20012 * 0.3 + 24 * 15",
    "Claude Agent SDK, less of the cache than beside it": "5210 * 3 + 1000 * 0.3 + 2000 * 3.75 + 600 * 15",
    "Bedrock Converse, the older name of tokens written to the cache": "4 * 3 + 1162 * 3.75 + 70 * 15",
    "Cohere, documents whose citations are not billed": "7596 * 2.5 + 645 * 10",
    "Perplexity, a total without the reasoning, and no citations": "9 * 2 + 500 * 8 + 300 * 3 + 2 * 5000",
    "xAI, cached prompt and reasoning, no total": "52 * 3 + 448 * 0.75 + 60 * 15 + 40 * 15",
    "LangChain, OpenAI, no total": "240 * 2.5 + 100 * 1.25 + 10 * 2.5 + 30 * 10 + 200 * 10 + 10 * 10",
    "LangChain, Bedrock, whose input excludes the cache": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "LiteLLM, Gemini, cached prompt and reasoning, no total": "1000 * 1.25 + 2000 * 0.125 + 400 * 10 + 1500 * 10",
    "LiteLLM, Claude, whose input excludes the cache": "4 * 3 + 3000 * 0.3 + 50 * 15",
    "LiteLLM, Claude, tokens read from the cache in the details alone": "86 * 3 + 1920 * 0.3 + 300 * 15",
    "LiteLLM, Gemini, audio and images and a web search": (
        "642 * 0.3 + 200 * 0.03 + 400 * 1 + 258 * 0.3 + 210 * 2.5 + 100 * 12 + 1290 * 30 + 1 * 35000"
    ),
    "chat, reasoning, no total": "75 * 1.1 + 162 * 4.4 + 1024 * 4.4",
    "SGLang, reasoning": "40 * 0.1 + 50 * 0.3 + 280 * 0.3",
    "Claude, thinking, and nulls in place of the cache": "48 * 5 + 410 * 25 + 1900 * 25",
    "response, image in the input, no details of the output": "13 * 2.5 + 1105 * 2.5 + 66 * 10",
    "GenAI, cached tokens by modality": "172 * 4 + 448 * 0.4 + 64 * 0.44 + 36 * 32 + 280 * 5 + 60 * 16",
    "LiveKit, speech": "55 * 4 + 64 * 0.4 + 13 * 32 + 30 * 16 + 91 * 64",
    "GenAI, older names of the cache without the side": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "Pydantic AI, Anthropic's names in the details": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "OpenRouter's spans, cost": "1000 * 2.5 + 100 * 10",
    "Pydantic AI 1, OpenAI": "404 * 1.25 + 4096 * 0.125 + 4500 * 1.5625 + 56 * 10 + 64 * 10",
    "MLflow, Claude": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "AI SDK 6, details alone": "220 * 0.25 + 1280 * 0.025 + 80 * 2 + 320 * 2",
    "AI SDK 5, Claude, both lives of a cache": "7 * 3 + 16399 * 0.3 + 1089 * 3.75 + 1000 * 6 + 445 * 15",
    "AI SDK 4, Claude": "500 * 3 + 300 * 0.3 + 100 * 3.75 + 50 * 15",
    "AI SDK 4, Bedrock": "2000 * 3 + 1000 * 0.3 + 700 * 3.75 + 60 * 15",
    "AI SDK 4, OpenAI": "220 * 15 + 1280 * 7.5 + 80 * 60 + 320 * 60",
    "Langfuse, LangChain with Vertex": "726 * 0.3 + 758 * 0.03 + 1000 * 1 + 516 * 0.3 + 20 * 2.5 + 80 * 12 + 1290 * 30",
    "Langfuse, text and audio by name": "45 * 2.5 + 301 * 40 + 77 * 10 + 333 * 80",
    "Langfuse, images beside both": "10 * 5 + 40 * 10 + 5 * 0 + 50 * 40",
    "Langfuse, images beside both, by LangChain's names": "10 * 5 + 40 * 10 + 5 * 0 + 50 * 40",
    "Langfuse, Anthropic's names of the lives of a cache": "10 * 15 + 1000 * 1.5 + 500 * 18.75 + 1000 * 30 + 5 * 75",
    "Langfuse, LangChain's names of the lives of a cache": "12 * 3 + 2000 * 0.3 + 500 * 3.75 + 1000 * 6 + 80 * 15",
    "Langfuse, its own names of the lives of a cache": "12 * 3 + 2000 * 0.3 + 500 * 3.75 + 1000 * 6 + 80 * 15",
    "Langfuse, reasoning by OpenAI's name": "75 * 2 + 162 * 8 + 1024 * 8",
    "Langfuse, reasoning without the side": "75 * 2 + 162 * 8 + 1024 * 8",
    "Claude, lives of a cache without their sum": "100 * 3 + 10 * 3.75 + 20 * 6 + 50 * 15",
    "Claude, lives of a cache alone": "100 * 3 + 10 * 3.75 + 20 * 6 + 50 * 15",
    "Claude, with zeros for OpenAI's names, as LiteLLM's usage object of Anthropic's counts has them": (
        "100 * 3 + 90 * 0.3 + 50 * 15"
    ),
    "Bedrock Converse, both lives of a cache without their sum": "10 * 3 + 10 * 3.75 + 20 * 6 + 5 * 15",
    "Gemini Live, image made": "10 * 0.3 + 1290 * 30",
    "Gemini Live by Google's client for Python, image made": "10 * 0.3 + 1290 * 30",
    "Mistral, cached prompt without details": "36 * 0.4 + 64 * 0.4 + 34 * 2",
    "LiteLLM, response, spoken question and answer": "10 * 2.5 + 120 * 40 + 49 * 10 + 214 * 80",
    "chat, cached tokens by modality": "172 * 4 + 448 * 0.4 + 64 * 0.44 + 36 * 32 + 280 * 5 + 60 * 16",
    "realtime, reasoning": "100 * 4 + 40 * 16 + 30 * 16 + 120 * 64",
    "OpenRouter, web search by the name of its responses": "900 * 2.5 + 100 * 10 + 1 * 25000",
    "LiteLLM, Claude, both lives of a cache without their sum": (
        "100 * 3 + 1000 * 0.3 + 500 * 3.75 + 2500 * 6 + 20 * 15"
    ),
    "LiteLLM, Claude, tokens written to the cache in the details alone": "100 * 3 + 3000 * 3.75 + 20 * 15",
    "LiteLLM, Claude, tokens written to the cache without details": "100 * 3 + 3000 * 3.75 + 20 * 15",
    "image edited by LoomQL's own request": "10 * 5 + 40 * 10 + 60 * 40",
    "Langfuse, Anthropic's names of the lives of a cache without their sum": (
        "12 * 3 + 2000 * 0.3 + 500 * 3.75 + 1000 * 6 + 80 * 15"
    ),
    "Langfuse, Anthropic's names without the lives of a cache": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 80 * 15",
    "OpenInference, images": "10 * 5 + 40 * 10 + 60 * 40",
    "LiteLLM's spans, parts of the cost": "1000 * 2.5 + 100 * 10",
    "Pydantic AI, Anthropic's names of an hour's cache and of searches": (
        "12 * 3 + 2000 * 0.3 + 500 * 3.75 + 1000 * 6 + 80 * 15 + 2 * 10000"
    ),
    "Sentry, names of parts that continue those of totals": "12 * 3 + 2000 * 0.3 + 1500 * 3.75 + 50 * 15 + 30 * 15",
    "OpenRouter's spans, cached tokens and reasoning": "76 * 2 + 1024 * 0.5 + 44 * 8 + 256 * 8",
    "OpenLIT, Anthropic read from the cache": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenLIT, Anthropic, whose total does not tell": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "Claude Code, read from and written to the cache": "5000 * 3 + 2000 * 0.3 + 500 * 3.75 + 100 * 15",
    "Claude Code, with a total that does not tell": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenLIT, Bedrock, whose total does not tell": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenLIT, Bedrock read from the cache and written to it": "5000 * 3 + 2000 * 0.3 + 1000 * 3.75 + 100 * 15",
    "OpenLLMetry, LlamaIndex with Anthropic, whose total does not tell": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenLLMetry, LlamaIndex with OpenAI": "3000 * 2.5 + 2000 * 1.25 + 100 * 10",
    "OpenInference, Bedrock by JavaScript, model invoked": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenInference, Bedrock by JavaScript, total with the cache in the prompt": "3000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenRouter's spans, no charge": "1000 * 2.5 + 100 * 10",
    "OpenLIT, a cost of 0 beside that of OpenRouter": "1000 * 2.5 + 100 * 10",
    "Langfuse, parts of the cost that are 0": "10 * 2.5 + 5 * 10",
    "AI SDK 5, Claude with web searches": "9000 * 3 + 700 * 15 + 2 * 10000",
    "AI SDK 5, Claude by Vercel's gateway, which excludes the cache": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "AI SDK 5, Claude by Vercel's gateway, whose answer names the model alone": "5000 * 3 + 2000 * 0.3 + 100 * 15",
    "OpenInference, Gemini's thoughts in the total alone": "600 * 0.3 + 400 * 0.03 + 100 * 2.5 + 1500 * 2.5",
    "Gemini by Weave's client, thoughts in the total alone": "1000 * 1.25 + 100 * 10 + 1500 * 10",
    "Gemini by Weave's client, no answer but thoughts": "20 * 1.25 + 65 * 10",
    "a total beyond both, of another model": "1000 * 2.5 + 100 * 10",
    "AI SDK 5, GPT by Vercel's gateway": "3000 * 2.5 + 2000 * 1.25 + 100 * 10",
}
"""Bill of each payload in millionths of a US dollar: counts of tokens times prices, class by class."""

PRICED: Final = [payload for payload in PAYLOADS if payload.name in BILLS]


def _price(model: str, rates: dict[str, str]) -> Price:
    each = {name: float(Decimal(rate) / 1_000_000) for name, rate in rates.items()}
    return price(
        llm_id=model, prompt_token_cost=each.pop("input"), completion_token_cost=each.pop("output"), rates=each
    )


PRICES: Final = Prices([_price(model, rates) for models, rates in _RATES for model in models])


def by_hand(payload: Payload) -> Decimal | None:
    """Return the cost in US dollars, or None for a model without a price."""
    if payload.name not in BILLS:
        return None
    products = [product.split(" * ") for product in BILLS[payload.name].split(" + ")]
    return sum((Decimal(count) * Decimal(rate) for count, rate in products), Decimal(0)) / 1_000_000


def entry_of(payload: Payload) -> dict[str, Any]:
    """Return the entry that a call stores for a payload."""
    return kept({"usage": {payload.model: payload.sent}}) if payload.scope is None else of_span(payload)[0]


@pytest.mark.parametrize("payload", PRICED, ids=ids)
def test_call_cost_matches_a_manual_calculation(payload: Payload) -> None:
    [line] = bill([entry_of(payload)], 0, PRICES)

    assert Decimal(repr(line["total_cost"])) == by_hand(payload)
    assert sum(Decimal(repr(part["cost"])) for part in line["components"]) == by_hand(payload)


def test_only_free_variants_have_no_price() -> None:
    [free] = [payload for payload in PAYLOADS if payload not in PRICED]

    assert free.model == "deepseek/deepseek-r1:free"
    [line] = bill([entry_of(free)], 0, PRICES)
    assert (line["stated_cost"], line["components"], line.get("total_cost")) == (0, [], None)


async def test_pipeline_computes_all_manually_calculated_costs(database: Database) -> None:
    prices = PRICES.of({payload.model for payload in PAYLOADS})
    documents = [{"started_at": 0, "usage": entry_of(payload)} for payload in PAYLOADS]

    rows = await database.calls.database.aggregate(
        [{"$documents": {"$literal": documents}}, {"$set": {"cost": prices.cost_expression()}}]
    ).to_list(None)

    assert [row["cost"] and row["cost"].to_decimal() for row in rows] == [by_hand(payload) for payload in PAYLOADS]
