"""The recorder: runs real libraries against a stand-in provider and keeps the requests that they send to LoomQL.

    python -m tests.recorded.record                     # all recordings
    python -m tests.recorded.record openinference       # those whose path begins so
    python -m tests.recorded.record vercel/ai/chat --keep

Each sender has an environment of its own in the folder that `LOOMQL_RECORDER` names, outside the repository; the
recorder makes those that are missing. It never runs in the test suite, because it installs packages and takes minutes.
A recording is a file of `payloads/`, named after its sender, library and case. It has the versions of the libraries,
the requests, and the reading that `expectations.py` derives from the program. Names of this machine are removed.
"""

import argparse
import base64
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from app.server.application import create_app
from app.settings import Settings
from tests.live_server import live_server
from tests.recorded.expectations import expected_of
from tests.recorded.programs import conversation as said
from tests.recorded.provider import stand_in
from tests.recorded.senders import SENDERS, Sender
from tests.shared_by_workers import temporary_mongod

PAYLOADS: Final = Path(__file__).parent / "payloads"
PROGRAMS: Final = Path(__file__).parent / "programs"
ENVIRONMENTS: Final = Path(os.environ.get("LOOMQL_RECORDER", Path(tempfile.gettempdir()) / "loomql-recorder"))
MAX_CHARACTERS: Final = 50_000
MAX_LINE: Final = 120
TIMEOUT_SECONDS: Final = 120

_WORDS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google-genai google-generativeai",
    "bedrock": "bedrock boto3",
    "cohere": "cohere",
    "mistral": "mistralai",
    "litellm": "litellm",
    "langchain": "langchain langchain-openai",
    "llamaindex": "llama-index llamaindex",
    "smolagents": "smolagents",
    "agents": "openai-agents",
}
"""Words by library in the names of the packages that only recordings of that library mention."""

_NOT_KEPT: Final = re.compile(r"^(process|host|os)\.|^telemetry\.distro|^service\.instance\.id$|^session\.branch$")
"""Keys of resource attributes that describe the machine."""
_PROTOBUFS: Final[dict[str, type[ExportTraceServiceRequest | ExportLogsServiceRequest]]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
_CASE_ENDED: Final = "/recorded/"
_IDS: Final = ("traceId", "spanId", "parentSpanId")


@dataclass
class Recorder:
    """An ASGI application that keeps the requests to LoomQL, and passes them on.

    Attributes:
        requests: path and decoded body of each POST request of the case that runs.
        cases: those of the cases that ended, by case.
    """

    app: Any
    requests: list[tuple[str, Any]] = field(default_factory=list)
    cases: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the body of a request once LoomQL has read it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith(_CASE_ENDED):
            self.cases[scope["path"].removeprefix(_CASE_ENDED)], self.requests = self.requests, []
            await PlainTextResponse("")(scope, receive, send)
            return
        chunks: list[bytes] = []

        async def read() -> Message:
            message = await receive()
            chunks.append(message.get("body", b""))
            return message

        await self.app(scope, read, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = b"".join(chunks)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append((scope["path"], _decoded(scope["path"], headers.get("content-type", ""), body)))


def _decoded(path: str, media_type: str, body: bytes) -> Any:
    if media_type.startswith("application/x-protobuf"):
        kind = next((kind for end, kind in _PROTOBUFS.items() if path.endswith(end)), None)
        if kind is None:  # metrics, which LoomQL does not take
            return None
        return _with_hex_ids(json_format.MessageToDict(kind.FromString(body), use_integers_for_enums=True))
    try:
        return json.loads(body)
    except ValueError:
        return base64.b64encode(body).decode()


def _with_hex_ids(value: Any) -> Any:
    """Return OTLP JSON with ids in hexadecimal, as the protocol asks, from protobuf's JSON with ids in Base64."""
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in _IDS else _with_hex_ids(item) for key, item in value.items()
        }
    return value


def main() -> None:
    """Record all cases, or those whose paths begin with an argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", help="record only the paths sender/library/case that begin so")
    parser.add_argument("--keep", action="store_true", help="keep the recordings that exist")
    parser.add_argument("--expect", action="store_true", help="only renew the expected readings of the recordings")
    arguments = parser.parse_args()
    if arguments.expect:
        _renew_expected()
        return
    failed = []
    with temporary_mongod(0.25) as uri, stand_in() as provider:
        recorder = Recorder(create_app(Settings(mongodb_uri=uri, mongodb_database="recorder")))
        with live_server(recorder, lifespan="on") as receiver:
            for sender, library, cases in _chosen(arguments.prefixes, is_kept=arguments.keep):
                recorder.cases.clear()
                errors = _run(sender, library, cases, provider, receiver)
                for case in cases:
                    path = f"{sender.name}/{library}/{case}"
                    problem = _write(path, sender, library, case, recorder.cases.get(case), {provider, receiver})
                    sys.stdout.write(f"{path}: {problem or 'recorded'}\n")
                    if problem:
                        failed.append(path)
                        sys.stdout.write(errors[-3000:] + "\n")
                        errors = ""
                sys.stdout.flush()
    if failed:
        sys.exit(f"not recorded: {', '.join(failed)}")


def _renew_expected() -> None:
    for file in PAYLOADS.rglob("*.json"):
        recording = json.loads(file.read_text())
        recording["expected"] = expected_of(recording["sender"], recording["library"], recording["case"])
        file.write_text(_indented(recording) + "\n")


def _chosen(prefixes: list[str], *, is_kept: bool) -> Iterator[tuple[Sender, str, list[str]]]:
    """Yield senders and libraries, with the cases to record."""
    for sender in SENDERS:
        for library, cases in sender.cases.items():
            chosen = [
                case
                for case in cases.split()
                if f"{sender.name}/{library}/{case}".startswith(tuple(prefixes or [""]))
                and not (is_kept and _file(f"{sender.name}/{library}/{case}").exists())
            ]
            if chosen:
                yield sender, library, chosen


def _file(path: str) -> Path:
    return PAYLOADS / f"{path}.json"


def _run(sender: Sender, library: str, cases: list[str], provider: str, receiver: str) -> str:
    """Run the program of a sender and library to its end; return its error messages."""
    folder = _environment(sender)
    given = {
        "PROVIDER": f"http://{provider}",
        "RECEIVER": f"http://{receiver}",
        "SENDER": sender.name,
        "WEAVE_USE_SERVER_CACHE": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would download the map
        "CONVERSATION": json.dumps({name: value for name, value in vars(said).items() if name.isupper()}, default=repr),
        **sender.variables,
    }
    command = (
        ["node", str(folder / "vercel.mjs"), *cases]
        if sender.is_node
        else [str(folder / "bin" / "python"), str(PROGRAMS / "run.py"), sender.name, library, *cases]
    )
    with tempfile.TemporaryDirectory() as home:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
        try:
            ran = subprocess.run(
                command,
                cwd=home,
                env={**inherited, "HOME": home, **given},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return f"{(error.stdout or b'').decode()}\nstopped after {TIMEOUT_SECONDS} seconds"
    return ran.stdout


def _environment(sender: Sender) -> Path:
    """Return the folder with the sender's packages; install them if it does not exist."""
    folder = ENVIRONMENTS / sender.environment
    if not folder.exists():
        if sender.is_node:
            folder.mkdir(parents=True)
            npm = shutil.which("npm") or "npm"
            subprocess.run([npm, "install", "--no-audit", "--no-fund", *_packages(sender)], cwd=folder, check=True)
        else:
            venv.create(folder, with_pip=True)
            subprocess.run([folder / "bin" / "pip", "install", "-q", *_packages(sender)], check=True)
    if sender.is_node:  # Node resolves imports from the folder of the program.
        (folder / "vercel.mjs").write_bytes((PROGRAMS / "vercel.mjs").read_bytes())
    return folder


def _versions(sender: Sender, library: str) -> dict[str, str]:
    """Return the versions of the packages that a recording depends on."""
    folder = ENVIRONMENTS / sender.environment
    if sender.is_node:
        return {
            name: json.loads((folder / "node_modules" / name / "package.json").read_text())["version"]
            for name in json.loads((folder / "package.json").read_text())["dependencies"]
        }
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    printed = subprocess.run([folder / "bin" / "python", "-c", code], capture_output=True, text=True, check=True).stdout
    names = {re.split(r"[\[<=>]", package)[0] for package in _packages(sender)}
    others = [word for other, words in _WORDS.items() if other != library for word in words.split()]
    return {
        name: version
        for name, version in sorted(json.loads(printed).items())
        if name in names and (_names(library, name) or not any(word in name for word in others))
    }


def _names(library: str, package: str) -> bool:
    return any(word in package for word in _WORDS.get(library, library).split())


def _packages(sender: Sender) -> tuple[str, ...]:
    return sender.packages or next(other.packages for other in SENDERS if other.name == sender.environment)


def _write(
    path: str, sender: Sender, library: str, case: str, requests: list[tuple[str, Any]] | None, addresses: set[str]
) -> str:
    """Write a recording; return a problem, or an empty string."""
    if requests is None:
        return "the program ended before this case"
    request = _weave_request(requests) if sender.protocol == "weave" else _otlp_request(requests)
    if not request:
        return "nothing was sent"
    recording = {
        "sender": sender.name,
        "library": library,
        "case": case,
        "libraryVersions": _versions(sender, library),
        "protocol": sender.protocol,
        "expected": expected_of(sender.name, library, case),
        "request": request,
    }
    text = _scrubbed(_indented(recording), addresses)
    if len(text) > MAX_CHARACTERS:
        return f"{len(text):,} characters are too many"
    file = _file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")
    return ""


def _otlp_request(requests: list[tuple[str, Any]]) -> dict[str, Any]:
    """Join the trace requests, and the log requests, of one program."""
    joined: dict[str, Any] = {}
    for path, body in requests:
        for name in ("resourceSpans", "resourceLogs"):
            if path.endswith(("/v1/traces", "/v1/logs")) and name in body:
                joined.setdefault(name, []).extend(body[name])
    for entry in (*joined.get("resourceSpans", ()), *joined.get("resourceLogs", ())):
        resource = entry.get("resource", {})
        resource["attributes"] = [
            attribute for attribute in resource.get("attributes", ()) if not _NOT_KEPT.search(attribute["key"])
        ]
    return joined


def _weave_request(requests: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests that write calls, in order."""
    return [
        {"path": path, "body": body}
        for path, body in requests
        if "call" in path and ("upsert" in path or "complete" in path or path.endswith(("/start", "/end")))
    ]


def _indented(value: Any, indent: str = "\n") -> str:
    """Return JSON with each value that fits on a line on one line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MAX_LINE or not isinstance(value, dict | list) or not value:
        return text
    deeper = f"{indent} "
    if isinstance(value, dict):
        members = [f"{json.dumps(key)}: {_indented(item, deeper)}" for key, item in value.items()]
        return f"{{{deeper}{f',{deeper}'.join(members)}{indent}}}"
    return f"[{deeper}{f',{deeper}'.join(_indented(item, deeper) for item in value)}{indent}]"


def _scrubbed(text: str, addresses: set[str]) -> str:
    """Remove names of this machine from a recording."""
    for address in addresses:
        text = text.replace(address, "127.0.0.1:8080").replace(f'"{address.rpartition(":")[2]}"', '"8080"')
        text = re.sub(rf"(?<=[\s:]){address.rpartition(':')[2]}(?=[\s,}}])", "8080", text)
    for private in filter(None, (str(ENVIRONMENTS), str(PROGRAMS), str(Path.home()), os.environ.get("PYENV_ROOT"))):
        text = text.replace(private, "/programs")
    text = re.sub(r'("(?:os_version|os_release|sys_version)": )"[^"]*"', r'\1"0"', text)
    text = re.sub(r"/tmp/[\w/.-]+", "/programs", text)  # noqa: S108 -- a path that is removed
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "host", text)


if __name__ == "__main__":
    main()
