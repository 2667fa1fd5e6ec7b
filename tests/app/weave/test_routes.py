"""Tests of the Weave API as a whole over plain HTTP: request bodies, refusals and look-ups."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.admission import Admission
from app.server.application import create_app
from app.settings import Settings
from app.weave.routes import WeaveDoor
from graphql_schema.context import Stores
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.database import Database
from tests.app.weave.asking import end, posted, refused, start, started, streamed
from tests.live_server import live_server
from tests.waiting import TIMEOUT

MAX_BODY_BYTES = 100_000


def test_server_info_is_returned(url: str) -> None:
    with httpx.Client(base_url=f"{url}/weave", timeout=TIMEOUT) as nobody:
        answer = nobody.get("/server_info")

    assert answer.json() == {"min_required_weave_python_version": "0.0.1", "trace_server_version": "1.0.0"}


@pytest.mark.parametrize("path", ["/completions/nothing", "/service/projects_info", "/x/y/z", "/"])
def test_unsupported_route_gets_404(weave_api: httpx.Client, path: str) -> None:
    status, reason = refused(weave_api, path, project_id="acme/x")

    assert (status, reason) == (404, f"LoomQL has no {path} for the Weave SDK")


def test_call_link_opens_a_query_of_the_call(weave_api: httpx.Client, url: str, project: str) -> None:
    posted(weave_api, "/call/upsert_batch", batch=[start(project, id="1" * 16, inputs={"question": "tea?"})])
    link = f"{url}/weave/{project}/r/call/{'1' * 16}"
    with httpx.Client(headers={"accept": "application/json"}, timeout=TIMEOUT) as person:
        first = person.get(link)
        answer = person.get(link, follow_redirects=True)

    assert first.status_code == 307
    assert first.headers["location"].startswith("../../../../../graphql?query=query%20Call")
    assert answer.url.path == "/graphql"
    assert answer.url.params["query"].startswith("query Call(")
    assert json.loads(answer.url.params["variables"]) == {"projectId": project, "id": "1" * 16}
    call = answer.json()["data"]["call"]
    assert (call["id"], call["status"], call["inputs"]) == ("1" * 16, "RUNNING", {"question": "tea?"})


@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("/a/my%20project/r/call/x%26y%220123456789ab", {"projectId": "a/my project", "id": 'x&y"0123456789ab'}),
        ("/a/b/weave", {"projectId": "a/b"}),
        ("/a/b/weave/leaderboards/best", {"projectId": "a/b"}),
        ("/a/b/weave/traces?view=slow", {"projectId": "a/b"}),
        ("/a/b/weave/traces/%2F%2Fx.example", {"projectId": "a/b"}),
        ("/a/b/weave/objects/my%20prompt/versions/d1", {"ref": "weave:///a/b/object/my prompt:d1"}),
        ("/a/b/weave/ops/shout/versions/d2", {"ref": "weave:///a/b/op/shout:d2"}),
    ],
)
def test_sdk_link_leads_to_the_same_server(url: str, path: str, variables: dict[str, str]) -> None:
    with httpx.Client(headers={"accept": "application/json"}, timeout=TIMEOUT) as person:
        answer = person.get(f"{url}/weave{path}", follow_redirects=True)

    assert str(answer.url).startswith(f"{url}/graphql?query=")
    assert json.loads(answer.url.params["variables"]) == variables
    assert "errors" not in answer.json(), answer.json()


@pytest.mark.parametrize("path", ["/a/b", "/a/b/r/call/", "/a/b/r/call/x/y", "/a/b/weaver", "/x/a/b/r/call/x"])
def test_unknown_addresses_are_not_links(url: str, path: str) -> None:
    answer = httpx.get(f"{url}/weave{path}", timeout=TIMEOUT)

    assert (answer.status_code, answer.json()) == (404, {"reason": f"LoomQL has no {path} for the Weave SDK"})


def test_route_accepts_post_only(weave_api: httpx.Client) -> None:
    answer = weave_api.get("/call/read")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"reason": "/call/read takes POST only"}


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_body_is_read_as_json_with_any_content_type(
    weave_api: httpx.Client, project: str, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    body = json.dumps({"project_id": project, "id": "a" * 16, "unknown": [1]}).encode()

    assert weave_api.post("/call/read", content=body, headers=headers).json() == {"call": None}


EVIL = "https://evil.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[half"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:1"},
    ],
    ids=lambda headers: " ".join(map(":".join, headers.items())),
)
@pytest.mark.parametrize("auth", [None, ("api", "k" * 40)], ids=["nobody", "somebody"])
def test_cross_site_page_writes_nothing(
    weave_api: httpx.Client, url: str, project: str, headers: dict[str, str], auth: tuple[str, str] | None
) -> None:
    # A page may send these requests to any server, and the browser may have a saved password for it.
    call_id = started(weave_api, project)
    body = json.dumps({"project_id": project, "call_ids": [call_id]})
    form = {"data": {"project_id": project}, "files": {"file": ("x", b"hello")}}

    with httpx.Client(base_url=f"{url}/weave", auth=auth, headers=headers, timeout=TIMEOUT) as browser:
        deleted = browser.post("/calls/delete", content=body, headers={"content-type": "text/plain"})
        uploaded = browser.post("/files/create", **form)  # type: ignore[arg-type] # a form as httpx takes it

    assert [deleted.status_code, uploaded.status_code] == [403, 403]
    assert "may not send requests to this server" in deleted.json()["reason"]
    assert [call["id"] for call in streamed(weave_api, "/calls/stream_query", project_id=project)] == [call_id]
    assert posted(weave_api, "/files/stats", project_id=project) == {"total_size_bytes": 0}


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "OURS"}]
)
def test_programs_and_same_origin_pages_may_write(url: str, project: str, headers: dict[str, str]) -> None:
    headers = {name: value.replace("OURS", url) for name, value in headers.items()}

    with httpx.Client(base_url=f"{url}/weave", headers=headers, timeout=TIMEOUT) as client:
        posted(client, "/call/upsert_batch", batch=[start(project)])


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ({"content-encoding": "gzip"}, b"{}", 422, "without Content-Encoding"),
        ({}, b"not JSON", 422, "the body cannot be read: not JSON"),
        ({}, b"[1]", 422, "the body: Input should be a valid dictionary"),
        ({}, b"7" * 400, 422, "the body"),
        ({}, b'{"a":' + b"[" * 70_000, 422, "the body cannot be read"),
    ],
)
def test_unreadable_body_is_refused(
    weave_api: httpx.Client, headers: dict[str, str], body: bytes, status: int, reason: str
) -> None:
    answer = weave_api.post("/call/read", content=body, headers=headers)

    assert answer.status_code == status
    assert reason in answer.json()["reason"]


@pytest.fixture
def request_budget() -> RequestBudget:
    return RequestBudget(200_000)


@pytest.fixture
def narrow(database: Database, request_budget: RequestBudget) -> Iterator[httpx.Client]:
    """Yield a client of a Weave API with little memory for requests."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        own = Database(database._client, database.calls.database.name, request_budget=request_budget)
        yield {"stores": Stores(own)}

    weave_api = WeaveDoor(MAX_BODY_BYTES, MAX_BODY_BYTES, Admission(request_budget))
    app = Starlette(routes=[weave_api.mount()], lifespan=lifespan)
    with (
        live_server(app, lifespan="on") as address,
        httpx.Client(base_url=f"http://{address}/weave", timeout=TIMEOUT) as client,
    ):
        yield client


def test_body_that_is_too_large_is_refused(narrow: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    for content in (b" " * 150_000, pieces()):
        answer = narrow.post("/call/upsert_batch", content=content)
        assert answer.status_code == 413
        assert "LOOMQL_MAX_BODY_BYTES" in answer.json()["reason"]
    form = narrow.post("/files/create", data={"project_id": "a/b"}, files={"file": ("x", b" " * 150_000)})
    assert (form.status_code, "LOOMQL_MAX_FILE_BYTES" in form.json()["reason"]) == (413, True)


def test_full_server_returns_retry_after(narrow: httpx.Client, request_budget: RequestBudget) -> None:
    # A larger body would get a slot outside of the shared budget.
    body = {"batch": [start("acme/full", inputs={"text": "x" * 40_000})]}

    with request_budget.reservation() as reservation:
        reservation.reserve_now(FREE_BYTES + 190_000)
        full = narrow.post("/call/upsert_batch", json=body)
        form = narrow.post("/files/create", data={"project_id": "a/b"}, files={"file": ("x", b" " * 25_000)})
    for answer in (full, form):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "LOOMQL_MAX_PENDING_BYTES" in answer.json()["reason"]

    assert request_budget.reserved_bytes == 0


def looked_up(weave_api: httpx.Client, query: str, **variables: object) -> Any:
    return posted(weave_api, "/graphql", query=query, variables=variables)


def test_projects_are_looked_up_and_created(weave_api: httpx.Client, project: str, graphql: httpx.Client) -> None:
    entity, name = project.split("/")
    asking = (
        "query Project($name: String!, $entityName: String!) { project(name: $name, entityName: $entityName) { name } }"
    )
    making = (
        "mutation UpsertModel($name: String!, $id: String, $entity: String!, $description: String, $repo: String) {"
        " upsertModel(input: {id: $id, name: $name, entityName: $entity, description: $description, repo: $repo}) {"
        " model { name description } } }"
    )

    before = looked_up(weave_api, asking, name=name, entityName=entity)
    made = looked_up(weave_api, making, name=name, entity=entity)
    after = looked_up(weave_api, asking, name=name, entityName=entity)

    assert before == {"data": {"project": None}}
    assert made == {"data": {"upsertModel": {"model": {"name": name, "description": None}}}}
    assert after == {"data": {"project": {"name": name}}}
    listed = graphql.post("/graphql", json={"query": f'{{ project(projectId: "{project}") {{ id }} }}'}).json()
    assert listed["data"]["project"]["id"] == project


def test_caller_is_reported_as_local(weave_api: httpx.Client) -> None:
    answer = looked_up(
        weave_api, "query DefaultEntity { viewer { username defaultEntity { name } } serverInfo { frontendHost } }"
    )

    assert answer["data"]["viewer"] == {"username": "local", "defaultEntity": {"name": "local"}}
    assert looked_up(weave_api, '{ entity(name: "x") { name readOnly } }')["data"]["entity"]["readOnly"] is False


def test_invalid_wandb_query_is_reported(weave_api: httpx.Client) -> None:
    [unknown] = looked_up(weave_api, "{ artifacts }")["errors"]
    [unfit] = looked_up(weave_api, 'mutation { upsertModel(input: {name: "a/b"}) { model { name } } }')["errors"]
    [no_query] = looked_up(weave_api, "{")["errors"]

    assert "artifacts" in unknown["message"]
    assert unfit["message"].startswith("project: 'a/b' is not valid as half of a project id")
    assert "Syntax Error" in no_query["message"]
    assert refused(weave_api, "/graphql", query="{ viewer { id } }" + " " * 10_000)[0] == 413
    assert refused(weave_api, "/graphql", variables={}) == (422, "query: Field required")


def test_wandb_schema_is_shown_only_with_introspection(
    mongodb_uri: str, database_name: str, weave_api: httpx.Client
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, introspection=False)
    with (
        live_server(create_app(settings)) as host,
        httpx.Client(base_url=f"http://{host}/weave", auth=("api", "k" * 40), timeout=TIMEOUT) as secret,
    ):
        hidden = looked_up(secret, "{ __schema { types { name } } }")
        misspelt = looked_up(secret, "{ viewr { id } }")
        known = looked_up(secret, "{ viewer { id __typename } }")

    assert hidden["data"] is None
    assert hidden["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert misspelt["errors"][0]["message"] == "Cannot query field 'viewr' on type 'Query'."
    assert known == {"data": {"viewer": {"id": "local", "__typename": "User"}}}
    assert "User" in str(looked_up(weave_api, "{ __schema { types { name } } }"))
    assert looked_up(weave_api, "{ viewr { id } }")["errors"][0]["message"].endswith("Did you mean 'viewer'?")


LISTS = {
    "/calls/query": "calls",
    "/objs/query": "objs",
    "/feedback/query": "result",
    "/cost/query": "results",
    "/table/query": "rows",
    "/calls/stream_query": None,
    "/threads/stream_query": None,
}


@pytest.mark.parametrize("path", LISTS)
def test_list_limit_accepts_any_64_bit_integer(weave_api: httpx.Client, project: str, path: str) -> None:
    table = posted(weave_api, "/table/create", table={"project_id": project, "rows": [{}]})["digest"]
    name, options = LISTS[path], {"project_id": project, **({"digest": table} if path == "/table/query" else {})}

    for field in ("limit", "offset"):
        status, reason = refused(weave_api, path, **options, **{field: 2**63})
        assert (status, reason) == (422, f"{field}: Input should be less than {2**63}")
        assert refused(weave_api, path, **options, **{field: -1})[0] == 422
    farthest = {**options, "limit": 2**63 - 1, "offset": 2**63 - 1}
    assert (
        (posted(weave_api, path, **farthest) == {name: []}) if name else (streamed(weave_api, path, **farthest) == [])
    )


def test_count_limit_accepts_any_64_bit_integer(weave_api: httpx.Client, project: str) -> None:
    started(weave_api, project)

    assert posted(weave_api, "/calls/query_stats", project_id=project, limit=2**63 - 1)["count"] == 1
    assert refused(weave_api, "/calls/query_stats", project_id=project, limit=2**63)[0] == 422


def test_threads_and_sizes_are_returned(weave_api: httpx.Client, project: str) -> None:
    for name, last in (("a", "05"), ("b", "06")):
        call_id = started(weave_api, project, thread_id=name, turn_id="u" * 16, id=name * 16)
        assert call_id == name * 16
        turn = start(project, id=("t" + name) * 8, turn_id=("t" + name) * 8, thread_id=name)
        ended = end(project, ("t" + name) * 8, ended_at=f"2026-01-02T03:04:{last}.678901Z")
        posted(weave_api, "/call/upsert_batch", batch=[turn, ended])

    threads = streamed(weave_api, "/threads/stream_query", project_id=project, limit=1)
    filtered = streamed(
        weave_api,
        "/threads/stream_query",
        project_id=project,
        filter={"thread_ids": ["a"], "after_datetime": "2026-01-01T00:00:00Z"},
    )

    assert threads == [
        {
            "thread_id": "b",
            "turn_count": 1,
            "start_time": "2026-01-02T03:04:05.678901Z",
            "last_updated": "2026-01-02T03:04:06.678901Z",
            "first_turn_id": "tb" * 8,
            "last_turn_id": "tb" * 8,
            "p50_turn_duration_ms": 1000.0,
            "p99_turn_duration_ms": 1000.0,
        }
    ]
    assert [thread["thread_id"] for thread in filtered] == ["a"]
    sizes = posted(weave_api, "/project/stats", project_id=project, include_trace_storage_size=True)
    assert sizes == {
        "trace_storage_size_bytes": 28,
        "objects_storage_size_bytes": 0,
        "tables_storage_size_bytes": 0,
        "files_storage_size_bytes": 0,
    }
