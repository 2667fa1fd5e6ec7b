"""Tests of keys in the Explorer: sign-in at an issuer, keys that end while the page is open, and roles."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

import app
from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from stores.calls import CallsStore
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.app.auth.issuer import AUDIENCE, StandInIssuer, stand_in_issuer
from tests.browser.explorer_page import TWO_FRAMES
from tests.browser.graphiql_page import until
from tests.live_server import live_server
from tests.stores.calls.builders import call_id, end, start, trace_id

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page

PROJECT = "acme/chat"
ADDRESS = f"/?p={PROJECT}&v=traces&m=calls&f=op_name:is:answer"
CLIENT = "explorer"
DOCUMENTS = Path(app.__file__).parent / "explorer" / "generated" / "persisted-documents.json"

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def issuer() -> Iterator[StandInIssuer]:
    with stand_in_issuer() as issuer:
        yield issuer


@pytest.fixture
async def serve(mongodb_uri: str, database_name: str, calls: CallsStore) -> Serve:
    """Return a context manager that runs a server with a project of two calls; its arguments are settings."""
    both = [(start(number, project_id=PROJECT, op_name="answer"), end(number, project_id=PROJECT)) for number in (1, 2)]
    await calls.write([part for parts in both for part in parts])

    @contextmanager
    def serving(**settings: Any) -> Iterator[str]:
        app = create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required", **settings))
        with live_server(app, lifespan="on", ws=WebSocketProtocol) as host:
            yield f"http://{host}"

    return serving


def at(issuer: StandInIssuer, **changes: str) -> dict[str, str]:
    """Return the settings that let people of an issuer sign in."""
    plain = {
        "oidc_issuer": issuer.url,
        "oidc_audience": CLIENT,
        "oidc_client_id": CLIENT,
        "oidc_grants": "groups=ml writer acme/*",
    }
    return plain | changes


@asynccontextmanager
async def opened(chromium: "Browser", address: str) -> AsyncIterator["Page"]:
    """Open an address in a new browser; after the block, require that the page threw no error."""
    context = await chromium.new_context(viewport={"width": 1400, "height": 850})
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(address)
    yield page
    await context.close()
    assert errors == []


def form(page: "Page") -> "Locator":
    return page.get_by_role("dialog", name="Key")


def rows(page: "Page") -> "Locator":
    return page.get_by_role("row").get_by_text("answer", exact=True).first


async def sign_in(page: "Page") -> None:
    await form(page).get_by_role("button", name="Sign in at").click()
    await page.get_by_role("link", name="Continue").click()


async def told(page: "Page") -> str:
    """Return the reason why the page asks."""
    return await form(page).get_by_role("alert").inner_text()


async def test_sign_in_restores_the_address_and_sign_out_forgets_the_token(
    chromium: "Browser", serve: Serve, issuer: StandInIssuer
) -> None:
    issuer.exchange_url = issuer.url.replace("127.0.0.1", "localhost") + "/token"
    issuer.end_url = f"{issuer.url}/end?tenant=acme"
    asked_for: list[str] = []
    with serve(**at(issuer)) as url:
        async with opened(chromium, url + ADDRESS) as page:
            page.on("request", lambda request: asked_for.append(request.url))
            await sign_in(page)
            await rows(page).wait_for()
            assert page.url == url + ADDRESS
            assert await form(page).count() == 0

            response = await page.reload()
            await rows(page).wait_for()
            assert response
            policy = response.headers["content-security-policy"]
            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_role("link", name="Continue").click()
            await form(page).wait_for()
            assert page.url == url + ADDRESS
            kept = await page.evaluate("JSON.stringify(sessionStorage)")

    [asked] = [parse_qs(urlsplit(each).query) for each in asked_for if "/authorize" in each]
    assert asked["scope"] == ["openid profile email"]
    assert asked["tenant"] == ["acme"]
    assert "audience" not in asked
    assert [grant["redirect_uri"] for grant in issuer.grants] == [f"{url}/"]
    [ended] = issuer.ended
    assert ended.pop("state")
    assert ended == {"tenant": "acme", "client_id": CLIENT, "post_logout_redirect_uri": f"{url}/"}
    port = urlsplit(issuer.url).port
    assert f"connect-src 'self' http://127.0.0.1:{port} http://localhost:{port};" in policy
    assert kept == "{}"


REFUSALS: list[tuple[dict[str, str], str]] = [
    ({"state": "another"}, "The answer belongs to another sign-in"),
    ({"iss": "https://evil.example"}, "The answer belongs to another sign-in"),
    ({"error": "access_denied"}, "The issuer denied access. You may have cancelled"),
    ({"error": "access_denied", "error_description": "Not you."}, "The issuer denied access. Not you."),
    ({"error": "login_required"}, "The issuer ended the sign-in: login_required"),
    ({"code": "stolen"}, "refused the request: The grant is not valid."),
]


async def test_refused_sign_in_says_why_and_can_be_repeated(
    chromium: "Browser", serve: Serve, issuer: StandInIssuer
) -> None:
    with serve(**at(issuer)) as url:
        async with opened(chromium, url + ADDRESS) as page:
            for answer, reason in REFUSALS:
                issuer.sign_in_answer = answer
                await sign_in(page)
                await form(page).get_by_role("alert").wait_for()
                assert reason in await told(page)
                assert page.url == url + ADDRESS

            issuer.sign_in_answer = {}
            await sign_in(page)
            await rows(page).wait_for()
            assert page.url == url + ADDRESS


async def test_answer_that_nobody_asked_for_is_ignored(
    chromium: "Browser", serve: Serve, issuer: StandInIssuer
) -> None:
    with serve(**at(issuer)) as url:
        async with opened(chromium, f"{url}/?code=theirs&state=theirs") as page:
            await form(page).get_by_role("alert").wait_for()
            assert "began in another tab" in await told(page)
            assert page.url == f"{url}/?"
    assert issuer.grants == []


NOT_ACCEPTED: list[tuple[dict[str, object], str]] = [
    ({"nonce": "another"}, "The issuer's id token is for another sign-in"),
    ({"iss": "https://evil.example"}, "The issuer's id token is for another sign-in"),
    ({"iat": 4_000_000_000, "exp": 4_000_000_600}, "min behind the issuer's"),
    ({"iat": 1_700_000_000, "exp": 1_700_000_600}, "min ahead of the issuer's"),
    ({"sub": None}, "The server does not accept the issuer's token."),
]


async def test_token_that_is_not_accepted_says_why(chromium: "Browser", serve: Serve, issuer: StandInIssuer) -> None:
    issuer.gives_refresh_tokens = True
    with serve(**at(issuer)) as url:
        async with opened(chromium, url + ADDRESS) as page:
            for number, (claims, reason) in enumerate(NOT_ACCEPTED, 1):
                issuer.id_token = claims
                await sign_in(page)
                await form(page).get_by_role("alert").wait_for()
                assert reason in await told(page)
                assert page.url == url + ADDRESS
                assert len(issuer.grants) == number


async def test_access_token_for_the_server_is_preferred_to_the_id_token(
    chromium: "Browser", serve: Serve, issuer: StandInIssuer
) -> None:
    issuer.access_token = {"aud": ["account", AUDIENCE]}
    issuer.id_token = {"groups": None}
    asked_for: list[str] = []
    with serve(**at(issuer, oidc_audience=AUDIENCE, oidc_scopes="openid groups")) as url:
        async with opened(chromium, url + ADDRESS) as page:
            page.on("request", lambda request: asked_for.append(request.url))
            await sign_in(page)
            await rows(page).wait_for()

            issuer.access_token = {"aud": "account"}
            issuer.end_url = "not an address"
            await page.get_by_role("button", name="Sign out").click()
            await sign_in(page)
            await form(page).get_by_role("alert").wait_for()
            assert "takes tokens for loomql, but the issuer made them for account, explorer" in await told(page)
    asked = [parse_qs(urlsplit(each).query) for each in asked_for if "/authorize" in each]
    assert [(each["audience"], each["scope"]) for each in asked] == [([AUDIENCE], ["openid groups"])] * 2


async def refused(page: "Page", url: str) -> None:
    """Wait until the server refuses the key of the page, and the page would renew its token."""
    session = json.loads(await page.evaluate("sessionStorage.getItem('loomql:session')"))

    async def status() -> int:
        answer = await page.request.post(
            f"{url}/graphql",
            data={"query": "{ __typename }"},
            headers={"Authorization": f"Bearer {session['key']}"},
        )
        return answer.status

    await until(status, lambda found: found == 401, pause=0.5)
    # The page counts from the arrival of the token, which is late on a slow machine.
    await page.wait_for_function("renewAt => Date.now() > renewAt", arg=session["token"]["renewAt"])


async def test_ended_token_is_renewed_or_asked_for_in_place(chromium: "Browser", serve: Serve) -> None:
    # Side by side, because each waits until its token ends.
    refuses = (ended_token_is_asked_for(chromium, serve, gives_refresh_tokens=gives) for gives in (False, True))
    await asyncio.gather(ended_token_is_renewed(chromium, serve), *refuses)


async def ended_token_is_renewed(chromium: "Browser", serve: Serve) -> None:
    with stand_in_issuer() as issuer, serve(**at(issuer)) as url:
        issuer.gives_refresh_tokens = True
        async with opened(chromium, url + ADDRESS) as page:
            issuer.lifetime_seconds = 12
            await sign_in(page)
            await rows(page).wait_for()
            await refused(page, url)
            issuer.lifetime_seconds = 600
            issuer.id_token = {"sub": "ann again"}
            await page.get_by_role("link", name="Threads").click()
            await page.get_by_role("link", name="Traces").click()
            await rows(page).wait_for()
            assert await form(page).count() == 0
    assert [grant["grant_type"] for grant in issuer.grants] == ["authorization_code", "refresh_token"]


async def ended_token_is_asked_for(chromium: "Browser", serve: Serve, *, gives_refresh_tokens: bool) -> None:
    with stand_in_issuer() as issuer, serve(**at(issuer)) as url:
        issuer.gives_refresh_tokens = gives_refresh_tokens
        async with opened(chromium, url + ADDRESS) as page:
            issuer.lifetime_seconds = 12
            await sign_in(page)
            await rows(page).wait_for()
            await refused(page, url)
            issuer.forget_refresh_tokens()
            issuer.lifetime_seconds = 600
            await page.get_by_role("link", name="Charts").click()
            await form(page).get_by_role("alert").wait_for()
            assert await told(page) == "Your sign-in has ended."
            address = page.url

            await sign_in(page)
            await page.get_by_role("button", name="Sign out").wait_for()
            assert page.url == address
            assert "v=charts" in address


async def test_page_works_by_key_while_the_issuer_is_down(
    chromium: "Browser", serve: Serve, issuer: StandInIssuer, database: Database
) -> None:
    issuer.is_away = True
    key = await KeysStore(database, settle_seconds=0).create([Grant(PROJECT, Role.READER)])
    with serve(**at(issuer)) as url:
        async with opened(chromium, url + ADDRESS) as page:
            await form(page).get_by_role("button", name="Sign in at").click()
            await form(page).get_by_role("alert").wait_for()
            assert "refused the request: status 503" in await told(page)

            await enter(page, key.text)
            await rows(page).wait_for()
            assert page.url == url + ADDRESS


async def enter(page: "Page", key: str) -> None:
    await form(page).get_by_label("Key", exact=True).fill(key)
    await form(page).get_by_role("button", name="Use this key").click()


async def test_revoked_key_is_asked_for_and_the_page_goes_on(
    chromium: "Browser", serve: Serve, database: Database
) -> None:
    keys = KeysStore(database)  # when it has revoked a key, no server accepts it
    first, second = [await keys.create([Grant(PROJECT, Role.WRITER)]) for _ in range(2)]
    with serve() as url:
        address = f"{url}/?p={PROJECT}&v=trace&t={trace_id(1)}&call={call_id(1)}&tab=feedback"
        async with opened(chromium, address) as page:
            link = await form(page).get_by_role("link", name="More on keys").get_attribute("href")
            assert (await page.request.get(f"{url}/{link}")).status == 200
            await enter(page, "loomql_0000000000000000_wrong")
            await form(page).get_by_text("did not accept the key").wait_for()
            await enter(page, first.text)
            await page.get_by_label("Note").fill("look at this")
            await keys.revoke(first.key.id)
            await page.get_by_role("button", name="Add the note").click()
            await form(page).get_by_text("did not accept the key").wait_for()
            await page.keyboard.press("Escape")
            await page.keyboard.press("Escape")

            await enter(page, second.text)
            await page.get_by_role("article").get_by_text("look at this").wait_for()
            assert page.url == address


async def test_page_that_only_watches_asks_for_a_key_and_misses_nothing(
    chromium: "Browser", serve: Serve, database: Database, calls: CallsStore
) -> None:
    keys = KeysStore(database, settle_seconds=0)
    first, second = [await keys.create([Grant(PROJECT, Role.READER)]) for _ in range(2)]
    with serve() as url:
        async with opened(chromium, f"{url}{ADDRESS}&live=") as page:
            await enter(page, first.text)
            numbers = count(3)
            news = page.get_by_role("button", name="new")

            async def write_and_look() -> int:
                # The subscription starts after its socket is open, so the test writes calls until one appears.
                await calls.write([start(next(numbers), project_id=PROJECT, op_name="answer")])
                return await news.count()

            await until(write_and_look, lambda found: found == 1)
            await keys.revoke(first.key.id)
            await form(page).get_by_text("did not accept the key").wait_for()
            before = await news.inner_text()
            await calls.write([start(next(numbers), project_id=PROJECT, op_name="answer")])

            await enter(page, second.text)
            await until(news.inner_text, lambda found: found != before)


@pytest.mark.parametrize("role", [Role.READER, Role.WRITER])
async def test_page_hides_what_the_role_may_not_do(
    chromium: "Browser", serve: Serve, database: Database, role: Role
) -> None:
    key = await KeysStore(database, settle_seconds=0).create([Grant(PROJECT, role)])
    with serve() as url:
        async with opened(chromium, url + ADDRESS) as page:
            await enter(page, key.text)
            await page.get_by_role("row").get_by_role("checkbox").nth(1).check()
            marked = await page.get_by_role("group", name="Marked rows").get_by_role("button").all_inner_texts()

            async with page.expect_response(lambda response: "query Role(" in (response.request.post_data or "")):
                await page.goto(f"{url}/?p={PROJECT}&v=trace&t={trace_id(1)}&call={call_id(1)}&tab=feedback")
            await page.get_by_role("tab", name="Feedback").wait_for()
            await page.evaluate(TWO_FRAMES)
            may_note = await page.get_by_label("Note").is_visible()

    everything = ["Unmark", "👍", "👎", "Add to a dataset", "Compare", "Delete"]
    assert marked == (everything if role is Role.WRITER else ["Unmark", "Compare"])
    assert may_note == (role is Role.WRITER)


async def test_copied_query_runs_as_curl_and_as_python(chromium: "Browser", serve: Serve, database: Database) -> None:
    key = await KeysStore(database, settle_seconds=0).create([Grant(PROJECT, Role.READER)])
    condition = """inputs.city:is-not:it's "$HOME" `pwd` \\n\n\\\\"""
    with serve() as url:
        address = f"{url}/?{urlencode({'p': PROJECT, 'v': 'traces', 'm': 'calls', 'f': condition})}"
        async with opened(chromium, address) as page:
            await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            async with page.expect_response(
                lambda response: response.ok and "query Calls(" in (response.request.post_data or "")
            ) as first:
                await enter(page, key.text)
            shown = await (await first.value).json()
            await page.keyboard.press(".")
            query = page.locator(".query").filter(has=page.get_by_role("heading", name="Calls", exact=True))
            programs = {"Python": [sys.executable, "-c"], "curl": ["bash", "-c"]}
            if shutil.which("curl") is None:
                del programs["curl"]
            answers = {}
            for name, program in programs.items():
                await query.get_by_role("button", name=f"Copy as {name}").click()
                text = await page.evaluate("navigator.clipboard.readText()")
                answers[name] = await output_of(*program, text, LOOMQL_KEY=key.text)

    assert len(shown["data"]["calls"]["nodes"]) == 2
    assert answers == dict.fromkeys(programs, shown)


async def output_of(*command: str, **environment: str) -> object:
    """Return the JSON that a program prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, env={"PATH": os.environ["PATH"], **environment}
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def test_page_works_where_only_its_documents_are_trusted(
    chromium: "Browser", serve: Serve, database: Database, calls: CallsStore
) -> None:
    key = await KeysStore(database, settle_seconds=0).create([Grant(PROJECT, Role.READER)])
    with serve(trusted_documents=DOCUMENTS, only_trusted_documents=True) as url:
        async with opened(chromium, f"{url}{ADDRESS}&live=") as page:
            await enter(page, key.text)
            await rows(page).wait_for()
            numbers = count(3)

            async def write_and_look() -> int:
                await calls.write([start(next(numbers), project_id=PROJECT, op_name="answer")])
                return await page.get_by_role("button", name="new").count()

            await until(write_and_look, lambda found: found == 1)
