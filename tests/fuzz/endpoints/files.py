"""File requests: uploads and downloads, whole or in ranges, with random URLs and headers."""

from random import Random
from typing import Final
from urllib.parse import quote

from tests.fuzz import damage, texts
from tests.fuzz.pool import Pool
from tests.fuzz.wire import Request

NAME: Final = "files"
_RANGES: Final = (
    "bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-1", "bytes=99999999999999999999-", "bytes=0-1,3-4",
    "bytes=", "bytes=a-b", "lines=1-2", "bytes = 1 - 3", "bytes=0-18446744073709551616", "bytes=-99999999999",
    "\u0661-",
)  # fmt: skip
_NAMES: Final = ("If-None-Match", "If-Match", "If-Range")
_CHARSETS: Final = ("UTF-8", "undefined", "idna", "punycode", "hex", "a%00b", "", "utf-16", "unicode_escape", "x" * 300)
_DISPOSITIONS: Final = (
    'attachment; filename="a\\', "x" * 3000, '; filename="\u00e9"', f"attachment; filename*{'9' * 4400}*=b",
    "attachment; filename*0*=utf-8''a; filename*2*=b; filename*1*=%ff", 'attachment; filename="=?utf-16?B?/////w==?="',
    *(f"attachment; filename*={charset}'{said}" for charset in _CHARSETS for said in ("'abc%ff", "'%00", "'", "")),
)  # fmt: skip


def request(random: Random, pool: Pool) -> Request:
    return _put(random) if random.random() < 0.4 else _got(random, pool)


def _put(random: Random) -> Request:
    project = random.choice(("fuzz/own", "fuzz/own", "fuzz/other", "a/b/c", "%00/a", "..%2f../x", "fuzz/" + "x" * 500))
    name = random.choice(("a.txt", "", texts.text(random)[:2000], "9" * 4400))
    content = random.choice((b"", b"text", b"<script>", random.randbytes(5000), bytes(600_000)))
    target = f"/files/{project}?name={quote(name, errors='ignore')}"
    headers = [("Content-Type", "application/octet-stream")]
    if random.random() < 0.1:
        headers.append(("Content-Encoding", "gzip"))
    elif random.random() < 0.3:
        # The server reads this header if the address has no name.
        headers.append(("Content-Disposition", random.choice(_DISPOSITIONS)))
        target = f"/files/{project}"
    cut_at = random.randrange(len(content) + 1) if random.random() < 0.1 else None
    length = len(content) + random.choice((1, 10**6)) if random.random() < 0.1 and cut_at is None else None
    return Request(NAME, "PUT", target, tuple(headers), content, cut_at=cut_at, length=length)


def _got(random: Random, pool: Pool) -> Request:
    digest = pool.pick(random, "file") or "none"
    if random.random() < 0.3:
        digest = quote(damage.of_text(random, digest)[:2000], safe="", errors="ignore")
    headers = []
    if random.random() < 0.6:
        headers.append(("Range", random.choice(_RANGES)))
    if random.random() < 0.3:
        headers.append(
            (random.choice(_NAMES), random.choice(("*", f'"{digest}"', 'W/"x"', '"', ", ,", texts.word(random))))
        )
    project = random.choice(("fuzz/own", "fuzz/own", "fuzz/other", "demo/assistant", "no/body", "%2e%2e/x"))
    method = random.choice(("GET", "GET", "GET", "GET", "HEAD", "DELETE", "OPTIONS"))
    return Request(NAME, method, f"/files/{project}/{digest}", tuple(headers))
