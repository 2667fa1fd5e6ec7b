"""Tests of files at the Weave API over plain HTTP."""

import httpx
import pytest

from tests.app.weave.asking import posted, refused

HELLO = "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
BOUNDARY = {"content-type": "multipart/form-data; boundary=b"}
PROJECT_FIELD = b'--b\r\ncontent-disposition: form-data; name="project_id"\r\n\r\nacme/forms\r\n'
FILE_HEAD = b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.mark.parametrize("files", ["/files", "/file"])
def test_file_is_uploaded_and_downloaded(weave_api: httpx.Client, project: str, files: str) -> None:
    large = bytes(range(256)) * 20_000
    for body in (b"hello", b"", large):
        made = weave_api.post(f"{files}/create", data={"project_id": project}, files={"file": ("obj.py", body)})
        assert made.status_code == 200, made.text
        file = {"project_id": project, "digest": made.json()["digest"]}
        read = weave_api.post(f"{files}/content", json=file)
        assert (read.content, read.headers["content-type"]) == (body, "application/octet-stream")
        assert (made.json()["digest"] == HELLO) == (body == b"hello")

    assert posted(weave_api, "/files/stats", project_id=project) == {"total_size_bytes": 5 + len(large)}


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{}", {}, 422, "the body is no form"),
        (b"", {"content-type": "multipart/form-data"}, 422, "names no boundary"),
        (b"nonsense", BOUNDARY, 400, "not multipart/form-data"),
        (PROJECT_FIELD + b"--b--\r\n", BOUNDARY, 422, "there is no file"),
        (FILE_HEAD + b"hello\r\n" + PROJECT_FIELD + b"--b--\r\n", BOUNDARY, 422, "project_id: is required before"),
        (PROJECT_FIELD.replace(b"acme/", b"") + FILE_HEAD + b"x\r\n--b--\r\n", BOUNDARY, 400, "is not a project id"),
        (PROJECT_FIELD.replace(b"acme", b"a" * 2000) + FILE_HEAD, BOUNDARY, 422, "project_id: is too long"),
        (PROJECT_FIELD + FILE_HEAD + b"cut off", BOUNDARY, 400, "ends before its last boundary"),
        (
            PROJECT_FIELD + FILE_HEAD.replace(b'"x"', b'"../x"') + b"x\r\n--b--\r\n",
            BOUNDARY,
            400,
            "must not contain ..",
        ),
    ],
)
def test_form_without_a_valid_file_is_refused(
    weave_api: httpx.Client, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = weave_api.post("/files/create", content=body, headers=headers)

    assert answer.status_code == status
    assert reason in answer.json()["reason"]
    assert posted(weave_api, "/files/stats", project_id="acme/forms") == {"total_size_bytes": 0}


def test_sender_of_a_too_large_body_receives_the_reason(weave_api: httpx.Client) -> None:
    form = {"data": {"project_id": "nowhere"}, "files": {"file": ("x", b" " * 5_000_000)}}

    answer = weave_api.post("/files/create", **form)  # type: ignore[arg-type] # a form as httpx takes it

    assert (answer.status_code, "is not a project id" in answer.json()["reason"]) == (400, True)


def test_unknown_file_is_reported(weave_api: httpx.Client, project: str) -> None:
    assert refused(weave_api, "/files/content", project_id=project, digest="x")[0] == 404
