"""Tests that only valid tokens of the configured issuer authenticate a caller."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import HMACAlgorithm
from pydantic import ValidationError

from app.auth.oidc import Issuer, OidcTokens, parse_claim_grants
from app.server.application import create_app
from app.settings import Settings
from stores.database import Database
from stores.errors import UnavailableError
from stores.security.access import Grant, Role
from tests.app.auth.issuer import AUDIENCE, StandInIssuer, stand_in_issuer
from tests.live_server import live_server
from tests.waiting import TIMEOUT

GRANTS = parse_claim_grants(
    "groups=ml writer acme/*; sub=ann reader demo/assistant; realm.roles=ops admin *; scope=traces reader b/c"
)
SAYING_NOTHING: tuple[object, ...] = (False, "false", None, "", [], {})


@pytest.fixture
def issuer() -> Iterator[StandInIssuer]:
    with stand_in_issuer() as issuer:
        yield issuer


@pytest.fixture
def tokens(issuer: StandInIssuer) -> OidcTokens:
    return OidcTokens(issuer.url, AUDIENCE, GRANTS)


async def test_valid_token_gives_caller_and_grants(issuer: StandInIssuer, tokens: OidcTokens) -> None:
    by_rsa = await tokens.session(issuer.token())
    by_ec = await tokens.session(issuer.token(issuer.ec, "ES256", "ec", groups="ml", aud=["other", AUDIENCE]))
    operator = await tokens.session(issuer.token(groups=None, sub="bob", realm={"roles": ["ops"]}, scope="a traces"))
    stranger = await tokens.session(issuer.token(groups=["mlx"], sub="eve"))

    assert by_rsa
    assert by_rsa.caller.id == "oidc:ann"
    assert set(by_rsa.caller.grants) == {Grant("acme/*", Role.WRITER), Grant("demo/assistant", Role.READER)}
    assert by_ec
    assert by_ec.caller.grants == by_rsa.caller.grants
    assert operator
    assert set(operator.caller.grants) == {Grant("*", Role.ADMIN), Grant("b/c", Role.READER)}
    assert stranger
    assert stranger.caller.grants == ()
    assert by_rsa.is_valid()


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("verified=true", True),
        ("verified=true", "true"),
        ("verified=false", False),
        ("level=3", 3),
        ("level=0.5", 0.5),
        ("groups=true", ["ml", True]),
        ("groups=*", ["ml"]),
        ("groups=*", ["", "ml"]),
        ("name=*", "ann"),
        ("verified=*", True),
        ("level=*", 0),
        ("realm=*", {"roles": []}),
    ],
)
def test_claims_are_compared_in_json_notation(condition: str, value: object) -> None:
    [grant] = parse_claim_grants(f"{condition} admin *")

    assert grant.matches({condition.partition("=")[0]: value})


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("verified=true", False),
        ("verified=true", None),
        ("verified=True", True),
        ("verified=1", True),
        ("level=3", 30),
        ("name=null", None),
        ("realm={}", {}),
        ("groups=m", ["ml"]),
        *[(f"{name}=*", value) for name in ("x", "scope") for value in SAYING_NOTHING],
        *[("groups=*", [value]) for value in SAYING_NOTHING],
        ("scope=*", " "),
        ("realm.roles=*", {"roles": []}),
    ],
)
def test_empty_or_missing_claim_grants_nothing(condition: str, value: object) -> None:
    [grant] = parse_claim_grants(f"{condition} admin *")

    assert not grant.matches({condition.partition("=")[0].partition(".")[0]: value})
    assert not grant.matches({})


async def test_unverified_email_has_no_grant(issuer: StandInIssuer) -> None:
    tokens = OidcTokens(issuer.url, AUDIENCE, parse_claim_grants("email_verified=true reader demo/assistant"))
    asking = [await tokens.session(issuer.token(email_verified=value)) for value in (True, False, None)]

    assert [session.caller.grants for session in asking if session] == [
        (Grant("demo/assistant", Role.READER),),
        (),
        (),
    ]


def by_secret(issuer: StandInIssuer) -> str:
    """Return a token that uses the public key as an HMAC secret, which PyJWT refuses to sign."""
    public = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    parts = [encoded({"alg": "HS256", "typ": "JWT", "kid": "rsa"}), encoded(issuer.claims())]
    signature = HMACAlgorithm(HMACAlgorithm.SHA256).sign(".".join(parts).encode(), public)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_invalid_tokens_are_refused(issuer: StandInIssuer, tokens: OidcTokens) -> None:
    other = rsa.generate_private_key(65_537, 2048)
    good = issuer.token()
    head, claims, signature = good.split(".")
    now = int(time.time())
    wrong = {
        "not signed": f"{encoded({'alg': 'none', 'kid': 'rsa'})}.{claims}.",
        "by the public key as a secret": by_secret(issuer),
        "by another key": issuer.token(other),
        "by a key of another kind": issuer.token(issuer.ec, "ES256", "rsa"),
        "changed": f"{head}.{encoded(issuer.claims(sub='bob'))}.{signature}",
        "for others": issuer.token(aud="others"),
        "for nobody": issuer.token(aud=None),
        "of another issuer": issuer.token(iss="https://evil.example"),
        "over": issuer.token(exp=now - 1),
        "without end": issuer.token(exp=None),
        "of nobody": issuer.token(sub=None),
        "not yet": issuer.token(nbf=now + 600),
        "by an unknown key": issuer.token(kid="unknown"),
        "by no key that it names, of several": issuer.token(kid=None),
        "no token": "x.y.z",
        "nothing": "",
        "of bytes": "\xff\xfe",
        "with an address of keys of its own": jwt.encode(
            issuer.claims(), other, "RS256", {"kid": "evil", "jku": "http://127.0.0.1:1/keys"}
        ),
    }

    sessions = {why: await tokens.session(token) for why, token in wrong.items()}

    assert {why: session for why, session in sessions.items() if session} == {}
    assert await tokens.session(good)


async def test_symmetric_key_from_the_issuer_is_ignored(issuer: StandInIssuer, tokens: OidcTokens) -> None:
    issuer.keys = [{"kty": "oct", "k": encoded("x" * 40), "kid": "rsa", "alg": "HS256"}]

    assert await tokens.session(issuer.token()) is None


async def test_issuer_keys_are_fetched_once_per_unknown_key_id(issuer: StandInIssuer) -> None:
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, Issuer(issuer.url, min_interval_seconds=0))
    for _ in range(3):
        assert await tokens.session(issuer.token())
    fetched = issuer.requests.count("/keys")
    new = rsa.generate_private_key(65_537, 2048)
    issuer.keys[0] |= json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(new.public_key())) | {"kid": "new"}

    assert await tokens.session(issuer.token(new, kid="new"))
    assert (fetched, issuer.requests.count("/keys")) == (1, 2)


async def test_unknown_key_ids_cause_a_bounded_number_of_fetches(issuer: StandInIssuer, tokens: OidcTokens) -> None:
    for number in range(20):
        assert await tokens.session(issuer.token(kid=f"unknown {number}")) is None

    assert issuer.requests.count("/keys") == 1


async def test_unreachable_issuer_is_reported_and_old_keys_still_work(issuer: StandInIssuer) -> None:
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, Issuer(issuer.url, min_interval_seconds=0))
    issuer.is_away = True
    with pytest.raises(UnavailableError):
        await tokens.session(issuer.token())

    issuer.is_away = False
    assert await tokens.session(issuer.token())
    issuer.is_away = True
    assert await tokens.session(issuer.token(kid="unknown")) is None
    assert await tokens.session(issuer.token())


async def test_server_accepts_tokens_and_keys(
    mongodb_uri: str, database: Database, database_name: str, issuer: StandInIssuer
) -> None:
    settings = Settings(
        mongodb_uri=mongodb_uri,
        mongodb_database=database_name,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_grants="groups=ml reader acme/chat",
    )
    query = {"query": '{ ours: callsStats(projectId: "acme/chat") { count } projects { totalCount } }'}
    await database.projects.find_one({})
    answers = []
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            for token in (issuer.token(), issuer.token(groups=None), issuer.token(aud="x"), None):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                answers.append(await client.post("/graphql", json=query, headers=headers))

    assert [answer.status_code for answer in answers] == [200, 200, 401, 401]
    assert answers[0].json()["data"]["ours"] == {"count": 0}
    assert answers[1].json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"oidc_issuer": "https://id.example"}, "LOOMQL_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://id.example", "oidc_audience": "x"}, "https://"),
        ({"oidc_issuer": "file:///etc", "oidc_audience": "x"}, "https://"),
        (
            {"oidc_issuer": "https://id.example", "oidc_audience": "x", "keys": "off"},
            "LOOMQL_KEYS=off lets everybody in",
        ),
        ({"oidc_grants": "groups writer acme/*"}, "is not CLAIM=VALUE ROLE PROJECTS"),
        ({"oidc_client_id": "explorer"}, "LOOMQL_OIDC_CLIENT_ID takes LOOMQL_OIDC_ISSUER"),
        ({"oidc_scopes": "profile email"}, "LOOMQL_OIDC_SCOPES lacks openid"),
        ({"oidc_grants": "groups=ml writer"}, "is not CLAIM=VALUE ROLE PROJECTS"),
        ({"oidc_grants": "groups=ml owner acme/*"}, "is not a role"),
        ({"oidc_grants": "groups=ml reader acme"}, "does not name projects"),
    ],
)
def test_invalid_oidc_settings_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings(**given)
