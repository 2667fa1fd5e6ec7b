"""A small folder of pages with every Markdown feature that the site supports."""

from pathlib import Path

import pytest

INDEX = """
# Loom docs

Start here, or read the [keys](how-to/keys.md).

## Tutorial

- [Begin](tutorial.md): ten minutes

## How-to guides

- [Query](how-to/query.md)
- [Keys](how-to/keys.md)
- [Not written yet](how-to/none.md)
"""

QUERY = """
# Query `calls`

Find calls
by a *condition*.

## Two words & more

```graphql
{ calls(projectId: "demo/assistant") { totalCount } }
```

```klingon
<tlhIngan>
```

## Two words & more

| Field | Meaning | Bytes |
| --- | --- | ---: |
| `id` | The id | 16 |

### Deeper

A [page](../reference.md#top), the [start](../index.md), [below](#deeper), a [file](../../../LICENSE) of the repository,
[another host](https://example.com/x.md), and `--port`.

![A chart](../images/chart.svg) ![Elsewhere](https://example.com/a.png)

<script>alert(1)</script> [no](javascript:alert(1))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "index.md": INDEX,
        "tutorial.md": "# Begin <here>\n\nFirst steps.\n",
        "how-to/query.md": QUERY,
        "how-to/keys.md": "# Keys\n\nMake keys.\n",
        "reference.md": "# Reference\n\nNobody links this page.\n",
        "images/chart.svg": "<svg/>",
        "images/notes.txt": "of no concern",
        "module.py": "secret",
    }
    for name, content in files.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "docs"
