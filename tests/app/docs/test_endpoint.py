"""Tests of the documentation site as the server sends it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from app.docs import Documentation

OTHERS = {"Explorer": "", "GraphiQL": "graphql"}


def client(folder: Path, *, others: Mapping[str, str] = OTHERS, prefix: str = "") -> httpx.AsyncClient:
    routes = Documentation(folder, others=others).routes()
    app = Starlette(routes=[Mount(prefix, routes=routes)] if prefix else routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://loomql")


def links(response: httpx.Response) -> set[str]:
    """Return the addresses that a page links to or loads, without anchors."""
    found = re.findall(r'(?:href|src)="([^"#]+)', response.text)
    return {urljoin(str(response.url), link) for link in found}


@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
async def test_links_on_every_page_resolve(folder: Path, prefix: str) -> None:
    start = f"http://loomql{prefix}/docs"
    async with client(folder, prefix=prefix) as http:
        seen, ahead = dict[str, int](), {start}
        while ahead:
            url = ahead.pop()
            response = await http.get(url)
            seen[url] = response.status_code
            if response.headers["content-type"].startswith("text/html"):
                ahead |= {link for link in links(response) if "example.com" not in link} - seen.keys()

    others = [f"http://loomql{prefix}/{address}" for address in OTHERS.values()]
    pages = ["", "/tutorial", "/how-to/query", "/how-to/keys", "/reference"]
    assets = ["/style.css", "/docs.js", "/favicon.svg", "/images/chart.svg"]
    assert seen == dict.fromkeys(others, 404) | {f"{start}{path}": 200 for path in pages + assets}


@pytest.mark.parametrize("path", ["/docs", "/docs/how-to/query", "/docs/style.css", "/docs/none"])
async def test_page_loads_only_the_servers_own_files(folder: Path, path: str) -> None:
    async with client(folder) as http:
        response = await http.get(path)

    rules = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert set(rules.values()) == {"'none'", "'self'"}
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|style=|<script>| on\w+=", response.text)


async def test_heading_ids_differ_from_layout_ids(folder: Path) -> None:
    async with client(folder) as http:
        html = (await http.get("/docs/how-to/query")).text
    article = re.findall(r"<article>.*</article>", html, re.DOTALL)[0]
    in_article = re.findall(r' id="([^"]+)"', article)
    in_layout = re.findall(r' id="([^"]+)"', html.replace(article, ""))

    assert in_article == ["query-calls", "two-words--more", "two-words--more-1", "deeper"]
    assert sorted(in_layout) == ["siteContents", "siteMain", "sitePages", "siteResults", "siteSearch"]


async def test_navigation_follows_the_index_and_marks_the_page(folder: Path) -> None:
    async with client(folder) as http:
        html = (await http.get("/docs/how-to/query")).text

    shown = re.search(r'<nav id="sitePages".*?</nav>', html, re.DOTALL)
    assert shown
    assert re.findall(r"<h2>(.*?)</h2>|<li>(.*?)</li>", shown[0]) == [
        ("", '<a href="../../docs/tutorial">Begin &lt;here&gt;</a>'),
        ("How-to guides", ""),
        ("", '<a href="../../docs/how-to/query" aria-current="page">Query calls</a>'),
        ("", '<a href="../../docs/how-to/keys">Keys</a>'),
    ]


async def test_page_has_its_headings_group_and_neighbours(folder: Path) -> None:
    async with client(folder) as http:
        html = (await http.get("/docs/how-to/query")).text

    assert "<title>Query calls - LoomQL documentation</title>" in html
    assert '<meta name="description" content="Find calls by a condition.">' in html
    assert '<p class="crumb"><span>How-to guides</span>' in html
    assert '<li class="level-2"><a href="#two-words--more-1">Two words &amp; more</a></li>' in html
    assert '<li class="level-3"><a href="#deeper">Deeper</a></li>' in html
    previous = '<a rel="prev" href="../../docs/tutorial"><span>Previous</span> Begin &lt;here&gt;</a>'
    following = '<a rel="next" href="../../docs/how-to/keys"><span>Next</span> Keys</a>'
    assert f"{previous}\n{following}" in html


async def test_search_index_has_titles_and_headings(folder: Path) -> None:
    async with client(folder) as http:
        response = await http.get("/docs/search.json")

    entries = json.loads(response.content)
    assert response.headers["content-type"] == "application/json"
    assert [entry[:2] for entry in entries] == [
        ["Loom docs", "docs"],
        ["Begin <here>", "docs/tutorial"],
        ["Query calls", "docs/how-to/query"],
        ["Keys", "docs/how-to/keys"],
    ]
    assert entries[2][2][-1] == ["Deeper", "deeper"]


@pytest.mark.parametrize(
    "path", ["none", "how-to/none/at/all", "module.py", "index.md", "images/notes.txt", "how-to", "%2e%2e/LICENSE"]
)
async def test_unknown_page_links_to_the_start_page(folder: Path, path: str) -> None:
    async with client(folder) as http:
        response = await http.get(f"/docs/{path}")
        link = re.search(r'<a href="([^"]+)">Go to the start', response.text)
        assert link
        start = await http.get(urljoin(str(response.url), link[1]))

    assert response.status_code == 404
    assert "secret" not in response.text
    assert start.status_code == 200


async def test_trailing_slash_of_the_start_page_redirects(folder: Path) -> None:
    async with client(folder, prefix="/behind") as http:
        response = await http.get("/behind/docs/", follow_redirects=True)

    assert (response.status_code, response.url.path) == (200, "/behind/docs")


async def test_cached_page_gets_304(folder: Path) -> None:
    async with client(folder) as http:
        first = await http.get("/docs/tutorial")
        again = await http.get("/docs/tutorial", headers={"If-None-Match": f"W/{first.headers['etag']}"})
        other = await http.get("/docs/tutorial", headers={"If-None-Match": '"other"'})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert other.status_code == 200


async def test_pages_are_rendered_once(folder: Path) -> None:
    async with client(folder) as http:
        before = await http.get("/docs/tutorial")
        (folder / "tutorial.md").write_text("# Another\n")
        after = await http.get("/docs/tutorial")

    assert after.text == before.text


async def test_only_get_and_head_are_allowed(folder: Path) -> None:
    async with client(folder) as http:
        head = await http.head("/docs/tutorial")
        post = await http.post("/docs/tutorial")

    assert (head.status_code, post.status_code) == (200, 405)
    assert int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize("shown", [["Explorer", "GraphiQL"], ["GraphiQL"], []])
async def test_pages_link_to_the_other_pages_that_the_server_has(folder: Path, shown: list[str]) -> None:
    async with client(folder, others={title: OTHERS[title] for title in shown}) as http:
        start, html = [(await http.get(path)).text for path in ("/docs", "/docs/how-to/query")]

    assert [title for title in OTHERS if f">{title}</a>" in html] == shown
    assert ('<a href="./">Explorer</a>' in start) is ("Explorer" in shown)
    assert ('<a href="../../">Explorer</a>' in html) is ("Explorer" in shown)
    assert ('<a href="../../graphql">GraphiQL</a>' in html) is ("GraphiQL" in shown)
