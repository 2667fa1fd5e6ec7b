"""Tests of the web pages and their assets as the server sends them."""

import re
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from app.build_hook import FOLDER, PAGES
from app.pages import EXPLORER, GRAPHIQL, Page
from tests.installation import ROOT

SOURCES: Final = {page: ROOT / FOLDER / page / "index.html" for page in PAGES}
VALUES: Final = {"explorer": "./", "graphiql": "graphql", "docs": "docs", "only-trusted": "", "oidc": "{}"}

every_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """Return the folder of minimal bundles, laid out as Vite lays them out."""
    dist = tmp_path / "dist"
    for name in PAGES:
        assets = dist / name / name
        assets.mkdir(parents=True)
        (dist / name / "index.html").write_text(SOURCES[name].read_text())
        (assets / "index-abc.js").write_text(f"start({name!r})")
    (dist / "sources.sha256").write_text("secret")
    return dist


def page(name: str, dist: Path) -> Page:
    """Return a page like that of the server, with other bundles."""
    known = {page.name: page for page in (EXPLORER, GRAPHIQL)}[name]
    return Page(name, known.title, {}, dist)


def client(name: str, dist: Path) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount(f"/{name}", page(name, dist))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://loomql")


def meta(html: str) -> dict[str, str]:
    """Return the contents of the elements that the server fills."""
    return dict(re.findall(r'<meta name="loomql-([a-z-]+)" content="([^"]*)"', html))


@every_page
def test_page_is_the_bundle_and_is_not_cached(name: str, dist: Path) -> None:
    (dist / name / "index.html").write_text(f'<script src="./{name}/index-abc.js"></script>')

    response = page(name, dist).response(VALUES)

    assert response.status_code == 200
    assert response.media_type == "text/html"
    assert response.body == f'<script src="./{name}/index-abc.js"></script>'.encode()
    assert response.headers["cache-control"] == "no-cache"


@every_page
def test_page_contains_the_values_that_the_server_gives(name: str, dist: Path) -> None:
    html = bytes(page(name, dist).response(VALUES).body).decode()

    asked = meta(SOURCES[name].read_text()).keys()
    assert asked <= VALUES.keys()
    assert meta(html) == {each: VALUES[each] for each in asked}


@every_page
def test_values_that_the_server_lacks_leave_no_element(name: str, dist: Path) -> None:
    html = bytes(page(name, dist).response({"docs": "docs", "graphiql": None}).body).decode()

    assert meta(html) == {"docs": "docs"}


@every_page
def test_values_are_escaped(name: str, dist: Path) -> None:
    hostile = "\"/><script>alert('1 & 2')</script>\\g<1>"

    html = bytes(page(name, dist).response({"docs": hostile}).body).decode()

    assert "<script>alert" not in html
    assert meta(html) == {
        "docs": "&quot;/&gt;&lt;script&gt;alert(&#x27;1 &amp; 2&#x27;)&lt;/script&gt;\\g&lt;1&gt;",
    }


@pytest.mark.parametrize(
    ("page", "additional"),
    [(EXPLORER, {"data:", "blob:"}), (GRAPHIQL, {"data:", "'unsafe-inline'"})],
    ids=["explorer", "graphiql"],
)
def test_page_loads_nothing_from_other_hosts_and_forbids_framing(page: Page, additional: set[str]) -> None:
    headers = page.response({}).headers

    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    hosts = {source for sources in rules.values() for source in sources.split()}
    assert hosts == {"'none'", "'self'"} | additional
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("name", "title"), [("explorer", "The Explorer"), ("graphiql", "GraphiQL")])
def test_page_that_was_not_built_says_how_to_build_it(tmp_path: Path, name: str, title: str) -> None:
    missing = page(name, tmp_path / "dist")

    response = missing.response(VALUES)

    assert not missing.is_built
    assert response.status_code == 503
    text = bytes(response.body).decode()
    assert f"{title} was not built" in text
    assert "<pre>pip install .</pre>" in text
    assert "without <code>LOOMQL_SKIP_PAGES</code>" in text
    assert "POST" in text


@every_page
async def test_asset_is_cached_forever(name: str, dist: Path) -> None:
    async with client(name, dist) as http:
        response = await http.get(f"/{name}/index-abc.js")

    assert response.status_code == 200
    assert response.text == f"start({name!r})"
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"


@every_page
@pytest.mark.parametrize(
    "path", ["nothing.js", "%2e%2e/index.html", "%2e%2e/%2e%2e/sources.sha256", "..%2f..%2fsources.sha256", ""]
)
async def test_nothing_but_assets_is_served(name: str, dist: Path, path: str) -> None:
    async with client(name, dist) as http:
        response = await http.get(f"/{name}/{path}")

    assert response.status_code == 404
    assert "secret" not in response.text
    assert "immutable" not in response.headers.get("cache-control", "")


@pytest.mark.parametrize(("name", "title"), [("explorer", "The Explorer"), ("graphiql", "GraphiQL")])
async def test_page_that_was_not_built_has_no_assets(tmp_path: Path, name: str, title: str) -> None:
    async with client(name, tmp_path / "dist") as http:
        response = await http.get(f"/{name}/index-abc.js")

    assert response.status_code == 404
    assert response.text == f"{title} was not built"
