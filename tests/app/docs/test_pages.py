"""Tests of parsing and rendering Markdown pages."""

from pathlib import Path

import pytest

from app.docs.site import Heading, Page, read_pages


@pytest.fixture
def page(folder: Path) -> Page:
    return next(page for page in read_pages(folder) if page.source == "how-to/query.md")


def test_every_markdown_file_is_a_page_with_an_address(folder: Path) -> None:
    assert {page.source: page.address for page in read_pages(folder)} == {
        "index.md": "docs",
        "tutorial.md": "docs/tutorial",
        "reference.md": "docs/reference",
        "how-to/query.md": "docs/how-to/query",
        "how-to/keys.md": "docs/how-to/keys",
    }


def test_page_has_title_summary_and_headings_with_github_anchors(page: Page) -> None:
    assert page.title == "Query calls"
    assert page.summary == "Find calls by a condition."
    assert page.headings == (
        Heading(1, "Query calls", "query-calls"),
        Heading(2, "Two words & more", "two-words--more"),
        Heading(2, "Two words & more", "two-words--more-1"),
        Heading(3, "Deeper", "deeper"),
    )


def test_headings_link_themselves_except_the_title(page: Page) -> None:
    html = page.html()

    assert '<h1 id="query-calls">Query <code class="short">calls</code></h1>' in html
    link = '<a class="anchor" href="#deeper" aria-label="Link to Deeper">#</a>'
    assert f'<h3 id="deeper">Deeper {link}</h3>' in html
    assert 'aria-label="Link to Two words &amp; more"' in html


def test_links_become_addresses_and_outside_links_become_text(page: Page) -> None:
    html = page.html()

    assert '<a href="../../docs/reference#top">page</a>' in html
    assert '<a href="../../docs">start</a>' in html
    assert '<a href="#deeper">below</a>' in html
    assert "a file of the repository" in html
    assert '<a href="https://example.com/x.md">another host</a>' in html


def test_page_lists_its_links_by_section(folder: Path, page: Page) -> None:
    index = next(page for page in read_pages(folder) if page.source == "index.md")

    assert index.sections == {
        "Tutorial": ["tutorial.md"],
        "How-to guides": ["how-to/query.md", "how-to/keys.md", "how-to/none.md"],
    }
    assert page.links == (
        "reference.md#top",
        "index.md",
        "how-to/query.md#deeper",
        "../../LICENSE",
        "images/chart.svg",
    )


def test_images_are_those_of_the_folder(page: Page) -> None:
    html = page.html()

    assert '<img src="../../docs/images/chart.svg" alt="A chart" />' in html
    assert html.count("<img") == 1
    assert "Elsewhere" in html


def test_code_in_a_known_language_is_highlighted(page: Page) -> None:
    html = page.html()

    assert """<span class="s">"demo/assistant"</span>""" in html.replace("&quot;", '"')
    assert '<div class="code"><pre tabindex="0">&lt;tlhIngan&gt;\n</pre></div>' in html
    assert '<code class="short">--port</code>' in html


@pytest.mark.parametrize("language", ["graphql", "sh", "json", "python", "typescript", "yaml", "console"])
def test_languages_of_the_pages_are_known(tmp_path: Path, language: str) -> None:
    sample = {"graphql": "query { a }", "json": "[1]", "console": "$ ls"}.get(language, "export a='b'  # c")
    (tmp_path / "index.md").write_text(f"# T\n\n```{language}\n{sample}\n```\n")

    [page] = read_pages(tmp_path)

    assert '<span class="' in page.html()


def test_table_scrolls_in_its_own_box(page: Page) -> None:
    html = page.html()

    assert '<div class="table" tabindex="0"><table>' in html
    assert "</table></div>" in html
    assert '<td class="right">16</td>' in html


def test_markdown_cannot_contain_html_or_scripts(page: Page) -> None:
    html = page.html()

    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert 'href="javascript' not in html


def test_long_code_may_wrap(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(f"# T\n\n`{'x' * 40}`\n")

    [page] = read_pages(tmp_path)

    assert f"<code>{'x' * 40}</code>" in page.html()
