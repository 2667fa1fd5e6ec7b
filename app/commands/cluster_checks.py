"""The checks of `loomql doctor` that concern a sharded cluster and the rights of its user."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from app.commands.findings import Finding, ok, problem, warning
from app.mongodb import driver_message
from app.settings import Settings
from app.sharding import MONITOR, UNAUTHORIZED, Client, ShardingError, User, keys_text, needs
from stores import THREADS
from stores.database.driver import CONTROL_CONNECTIONS

READ_WRITE: Final = (
    *("find", "insert", "update", "remove", "createCollection", "dropCollection", "createIndex", "dropIndex"),
    *("listCollections", "listIndexes", "collStats", "changeStream", "killCursors"),
)
"""Actions that LoomQL needs in its database; MongoDB's role readWrite has them."""

NOOP_SECONDS: Final = 1
MAX_SKEW: Final = timedelta(seconds=1)
_MAX_EVENT_SECONDS: Final = 2.0
_INTERVAL: Final = "periodicNoopIntervalSecs"
_HOSTS: Final = re.compile(r"^mongodb(\+srv)?://(?P<user>[^@/]*@)?[^/?]+(?P<rest>.*)$")


@dataclass(frozen=True)
class Server:
    """A router or a member of a shard, as it answers directly.

    Args:
        address: host and port.
        why_unread: the reason for which it did not answer; empty if it did.
        version: its version of MongoDB.
        skew: time by which its clock may be ahead of this machine's; negative if behind, zero if within the precision.
        noop_interval: its `periodicNoopIntervalSecs`; None if it has none.
        connections: connections that it accepts; None if the user may not read that.
    """

    address: str
    why_unread: str = ""
    version: str = ""
    skew: timedelta = timedelta(0)
    noop_interval: int | None = None
    connections: int | None = None

    @classmethod
    def read(cls, uri: str, address: str, milliseconds: int) -> "Server":
        """Connect to one server with the user of a URI."""
        options: dict[str, Any] = {"serverSelectionTimeoutMS": milliseconds, "connectTimeoutMS": milliseconds}
        if uri.startswith("mongodb+srv:"):
            options["tls"] = True
        direct = _HOSTS.sub(rf"mongodb://\g<user>{address}\g<rest>", uri)
        try:
            with Client(direct, directConnection=True, **options) as client:
                client.admin.command("ping")
                began_at = datetime.now(UTC)
                hello = client.admin.command("hello")
                skew = _skew(hello["localTime"].replace(tzinfo=UTC), began_at, datetime.now(UTC))
                version = str(client.server_info()["version"])
                is_router = hello.get("msg") == "isdbgrid"
                interval = None if is_router else client.admin.command({"getParameter": 1, _INTERVAL: 1})[_INTERVAL]
                return cls(address, "", version, skew, interval, _connections(client) if is_router else None)
        except PyMongoError as error:
            return cls(address, driver_message(error).rstrip("."))


def _skew(server_time: datetime, began_at: datetime, ended_at: datetime) -> timedelta:
    """Return the least difference between two clocks, of which one was read between two times of the other."""
    if server_time > ended_at:
        return server_time - ended_at
    # MongoDB tells milliseconds.
    return min(server_time + timedelta(milliseconds=1) - began_at, timedelta(0))


def _connections(client: Client) -> int | None:
    try:
        found = client.admin.command("serverStatus")["connections"]
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return None
    return int(found["current"]) + int(found["available"])


def check_user(client: Client, settings: Settings, *, has_shards: bool) -> Iterator[Finding]:
    """Check the rights of the user; yield nothing without access control."""
    user = User.of(client)
    if not user.name:
        return
    database = settings.mongodb_database
    if lacking := user.lacks(READ_WRITE, database):
        granted = user.grant("readWrite", database)
        yield problem("user", f"the {user.text} lacks the rights {', '.join(lacking)} in {database}: run {granted}.")
    elif has_shards and user.lacks(["inprog"]):
        granted = user.grant(MONITOR, "admin")
        yield warning(
            "user",
            f"the {user.text} may not see how {database} is sharded, nor end transactions of killed servers early: "
            f"run {granted}.",
        )
    else:
        yield ok("user", f"{user.name} has the rights that LoomQL needs")


def check_cluster(client: Client, uri: str, settings: Settings) -> Iterator[Finding]:
    """Check the shard keys, the routers and the shards of a cluster."""
    milliseconds = int(settings.database_timeout_seconds * 1000)
    routers = sorted(f"{host}:{port}" for host, port in parse_uri(uri)["nodelist"])
    try:
        yield from _sharding(client, settings.mongodb_database)
        config = client["config"]
        shards = {each["_id"]: each["host"].rpartition("/")[2].split(",") for each in config["shards"].find()}
        recently = datetime.now(UTC) - timedelta(minutes=2)
        balancer = config["settings"].find_one({"_id": "balancer"}) or {}
        running = {each["_id"] for each in config["mongos"].find({"ping": {"$gte": recently}}, {"_id": 1})}
    except (ShardingError, OperationFailure) as error:
        yield warning("shards", f"{getattr(error, 'message', None) or driver_message(error)}.")
        return
    addresses = [*routers, *(address for members in shards.values() for address in members)]
    with ThreadPoolExecutor(16) as threads:
        read = {each.address: each for each in threads.map(lambda to: Server.read(uri, to, milliseconds), addresses)}
    members = [read[address] for members in shards.values() for address in members]
    yield ok("shards", f"{len(shards)} ({', '.join(shards)})")
    if balancer.get("stopped") or balancer.get("mode") == "off":
        yield warning("balancer", "it is off, so new documents stay on few shards: run sh.startBalancer().")
    else:
        yield ok("balancer", "it is on")
    yield _routers([read[address] for address in routers], running, settings)
    yield _versions(read.values())
    yield from _no_ops(client, settings.mongodb_database, members)
    yield _clocks(read.values())


def _sharding(client: Client, database: str) -> Iterator[Finding]:
    found = list(needs(client, database))
    if missing := [need.wanted.collection for need in found if not need.is_met]:
        yield warning("sharding", f"{', '.join(missing)} of {database} lack shard keys: run `loomql shard --apply`.")
    others = [need for need in found if need.has_other_key]
    for need in others:
        name = f"{database}.{need.wanted.collection}"
        yield warning(
            "sharding",
            f"{name} is sharded by {keys_text(need.current or {})}, with which LoomQL is not tested: run "
            f'sh.reshardCollection("{name}", {keys_text(need.wanted.key)}).',
        )
    if not missing and not others:
        yield ok("sharding", f"all {len(found)} collections that grow are sharded")


def _routers(routers: list[Server], running: set[str], settings: Settings) -> Finding:
    names = ", ".join(router.address for router in routers)
    if unread := [router for router in routers if router.why_unread]:
        texts = "; ".join(f"{router.address}: {router.why_unread}" for router in unread)
        return warning("routers", f"{texts}. Start them (mongos), or remove them from LOOMQL_MONGODB_URI.")
    pool = THREADS + CONTROL_CONNECTIONS
    needed = settings.workers * pool
    for router in routers:
        if router.connections is not None and router.connections < needed:
            return warning(
                "routers",
                f"{router.address} accepts {router.connections:,} connections, but {settings.workers} processes may "
                f"open {needed:,}: raise its net.maxIncomingConnections or its `ulimit -n`, or start fewer --workers.",
            )
    if len(routers) == 1 and len(running) > 1:
        others = ", ".join(sorted(running - {names}))
        return warning(
            "routers", f"LOOMQL_MONGODB_URI names one router of {len(running)}: add {others}, in case it stops."
        )
    return ok("routers", f"{names}; up to {pool} connections to each from each of {settings.workers} processes")


def _versions(servers: Iterable[Server]) -> Finding:
    known = [server for server in servers if server.version]
    versions = sorted({server.version for server in known})
    if len(versions) > 1:
        texts = "; ".join(f"{each}: {', '.join(s.address for s in known if s.version == each)}" for each in versions)
        return warning("versions", f"{texts}. Upgrade all to one version, the routers last.")
    return ok("versions", f"{', '.join(versions)} on {len(known)} routers and members of shards")


def _no_ops(client: Client, database: str, members: list[Server]) -> Iterator[Finding]:
    slow = {server.address: server.noop_interval for server in members if (server.noop_interval or 0) > NOOP_SECONDS}
    repair = f"restart each mongod with --setParameter {_INTERVAL}={NOOP_SECONDS}"
    if slow:
        yield warning(
            "events",
            f"subscriptions get events up to {max(filter(None, slow.values()))} s late while a shard is idle, because "
            f"of {_INTERVAL} on {', '.join(slow)}: {repair}.",
        )
        return
    if not (unread := [server for server in members if server.why_unread]):
        yield ok("events", f"{_INTERVAL} is {NOOP_SECONDS} on all shards")
        return
    names = ", ".join(server.address for server in unread)
    seconds = _event_seconds(client, database)
    if seconds is None or seconds > _MAX_EVENT_SECONDS:
        took = f"more than {_MAX_EVENT_SECONDS:g} s" if seconds is None else f"{seconds:.1f} s"
        yield warning(
            "events", f"an event takes {took}, and {names} cannot be asked ({unread[0].why_unread}): {repair}."
        )
    else:
        yield ok("events", f"the last event took {seconds:.1f} s; {names} cannot be asked ({unread[0].why_unread})")


def _event_seconds(client: Client, database: str) -> float | None:
    """Measure the time after which events arrive while nothing is written; None if it is too long."""
    with client[database].watch(max_await_time_ms=200) as stream:
        # The first one ends with a no-op of the quietest shard, so the second one takes a whole interval.
        for _ in range(2):
            now = client.admin.command("ping")["operationTime"].time
            began = time.monotonic()
            while _time_of(stream.resume_token) <= now:
                if time.monotonic() - began > _MAX_EVENT_SECONDS:
                    return None
                stream.try_next()
    return time.monotonic() - began


def _time_of(token: Mapping[str, str] | None) -> int:
    """Return the seconds since 1970 in a resume token."""
    return int(token["_data"][2:10], 16) if token else 0


def _clocks(servers: Iterable[Server]) -> Finding:
    read = [server for server in servers if not server.why_unread]
    wrong = [server for server in read if abs(server.skew) > MAX_SKEW]
    if not wrong:
        return ok("clocks", f"{len(read)} servers agree with this machine to a second")
    texts = (
        f"{server.address} is {abs(server.skew).total_seconds():.1f} s "
        f"{'ahead of' if server.skew > MAX_SKEW else 'behind'}"
        for server in wrong
    )
    return warning("clocks", f"the clock of {', '.join(texts)} this machine's: run `timedatectl set-ntp true` on all.")
