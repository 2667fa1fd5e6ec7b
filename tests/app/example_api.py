"""A small schema behind the HTTP endpoint, and a client of it."""

from collections.abc import AsyncIterator

import httpx
import strawberry
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from strawberry import scalars

from app.graphql_http.endpoint import GraphQLHTTP
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.errors import UnavailableError

MAX_BODY_BYTES = 4000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
GRAPHQL_RESPONSE = "application/graphql-response+json"


@strawberry.type
class Query:
    nothing: str | None = None

    @strawberry.field
    def greeting(self, name: str = "you") -> str:
        return f"Hello, {name}"

    @strawberry.field
    def agent(self, info: strawberry.Info) -> str:
        return str(info.context)

    @strawberry.field
    def failing(self) -> str | None:
        raise ValueError("no luck")

    @strawberry.field
    def unavailable(self) -> str | None:
        raise UnavailableError("too much waits")

    @strawberry.field
    def doomed(self) -> str:
        raise ValueError("no luck")

    @strawberry.field
    def echo(self, value: scalars.JSON) -> scalars.JSON:
        return value

    @strawberry.field
    def unserializable(self) -> scalars.JSON:
        return scalars.JSON(object())


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> str | None:
        return name

    @strawberry.mutation
    def refused(self) -> str | None:
        raise UnavailableError("too much waits")


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self) -> AsyncIterator[int]:
        yield 1


schema = LoomSchema(Query, Mutation, Subscription, limits=Limits())


def agent_of(connection: HTTPConnection) -> str:
    return connection.headers.get("x-agent", "nobody")


def page() -> Response:
    return HTMLResponse("<title>GraphiQL</title>")


def client_of(app: GraphQLHTTP) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://loomql", headers={"accept": "application/json"}
    )
