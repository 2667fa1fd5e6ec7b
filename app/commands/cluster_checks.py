"""The checks of `loomql doctor` that concern a sharded cluster and the rights of its user."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import pymongo
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from app.commands.findings import CHECK_SECONDS, Finding, attempt, ok, problem, warning
from app.mongodb import driver_message
from app.settings import Settings
from app.sharding import MONITOR, UNAUTHORIZED, Client, User, explained_rights, keys_text, needs
from stores import THREADS
from stores.database.driver import CONTROL_CONNECTIONS

READ_WRITE: Final = (
    *("find", "insert", "update", "remove", "createCollection", "dropCollection", "createIndex", "dropIndex"),
    *("listCollections", "listIndexes", "collStats", "changeStream", "killCursors"),
)
"""Actions that LoomQL needs in its database; MongoDB's role readWrite has them."""

NOOP_SECONDS: Final = 1
MAX_SKEW: Final = timedelta(seconds=1)
_AUTHENTICATION_FAILED: Final = 18
_MAX_EVENT_SECONDS: Final = 2.0
_LATE_EVENTS: Final = 2
"""Number of late events that are worth a warning."""
_EVENTS_CHECK_SECONDS: Final = 9.0
"""As `CHECK_SECONDS`: up to four events of two seconds, and the commands."""
_INTERVAL: Final = "periodicNoopIntervalSecs"
_HOSTS: Final = re.compile(r"^mongodb(\+srv)?://(?P<user>[^@/]*@)?[^/?]+(?P<rest>.*)$")


@dataclass(frozen=True)
class Server:
    """A router or a member of a shard, as it answers directly.

    Args:
        address: host and port.
        error: the error that kept it from being read; None if it was read.
        has_primary: True if it knows a primary of its replica set; None if it does not answer.
        version: its version of MongoDB.
        skew: time by which its clock may be ahead of this machine's; negative if behind, zero if within the precision.
        noop_interval: its `periodicNoopIntervalSecs`; None if it has none.
        name: the host and port by which a router calls itself; empty if the user may not read that.
        connections: connections that it accepts; None if the user may not read that.
    """

    address: str
    error: PyMongoError | None = None
    has_primary: bool | None = None
    version: str = ""
    skew: timedelta = timedelta(0)
    noop_interval: int | None = None
    name: str = ""
    connections: int | None = None

    @property
    def why_unread(self) -> str:
        """The reason for which it was not read; empty if it was."""
        return driver_message(self.error).rstrip(".").removeprefix(f"{self.address}: ") if self.error else ""

    @classmethod
    def read(cls, uri: str, address: str, milliseconds: int) -> "Server":
        """Connect to one server with the user of a URI, and ask it for at most `CHECK_SECONDS`."""
        names = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
        options: dict[str, Any] = dict.fromkeys(names, milliseconds)
        if uri.startswith("mongodb+srv:"):
            options["tls"] = True
        direct = _HOSTS.sub(rf"mongodb://\g<user>{address}\g<rest>", uri)
        has_primary = None
        try:
            with pymongo.timeout(CHECK_SECONDS), Client(direct, directConnection=True, **options) as client:
                # The driver's monitor does not log in, so it learns this from a server that refuses the user, too.
                is_router = client.is_mongos
                [known] = client.topology_description.server_descriptions().values()
                has_primary = bool(known.primary)
                client.admin.command("ping")
                began_at = datetime.now(UTC)
                hello = client.admin.command("hello")
                skew = _skew(hello["localTime"].replace(tzinfo=UTC), began_at, datetime.now(UTC))
                version = str(client.server_info()["version"])
                if is_router:
                    return cls(address, None, None, version, skew, None, *_name_and_connections(client))
                interval = client.admin.command({"getParameter": 1, _INTERVAL: 1})[_INTERVAL]
                return cls(address, None, has_primary, version, skew, interval)
        except PyMongoError as error:
            return cls(address, error, has_primary)


@dataclass
class _Config:
    """The documents of the config servers about the cluster; empty until they are read.

    Args:
        shards: the addresses of the members of each shard.
        routers: the names of the routers that run.
    """

    shards: dict[str, list[str]] = field(default_factory=dict)
    routers: set[str] = field(default_factory=set)


def _skew(server_time: datetime, began_at: datetime, ended_at: datetime) -> timedelta:
    """Return the least difference between two clocks, of which one was read between two times of the other."""
    if server_time > ended_at:
        return server_time - ended_at
    # MongoDB tells milliseconds.
    return min(server_time + timedelta(milliseconds=1) - began_at, timedelta(0))


def _name_and_connections(client: Client) -> tuple[str, int | None]:
    try:
        status = client.admin.command("serverStatus")
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return "", None
    host, connections = status["host"], status["connections"]
    # MongoDB leaves out its standard port here, but not in `config.mongos`.
    name = host if ":" in host else f"{host}:27017"
    return name, int(connections["current"]) + int(connections["available"])


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
    config = _Config()
    yield from attempt("sharding", lambda: _sharding(client, settings.mongodb_database, config))
    routers = sorted(_address(host, port) for host, port in parse_uri(uri)["nodelist"])
    addresses = [*routers, *(address for members in config.shards.values() for address in members)]
    with ThreadPoolExecutor(32) as threads:
        read = {each.address: each for each in threads.map(lambda to: Server.read(uri, to, milliseconds), addresses)}
    shards = {name: [read[address] for address in members] for name, members in config.shards.items()}
    answered = [server for server in read.values() if not server.error]
    if shards:
        yield _shards(shards)
    yield from attempt("members", lambda: _members(client, shards))
    yield from attempt("routers", lambda: _routers(client, [read[each] for each in routers], config.routers, settings))
    if answered:
        yield _versions(answered, len(read))
    members = [member for each in shards.values() for member in each]
    yield from attempt("events", lambda: _no_ops(client, settings.mongodb_database, members), _EVENTS_CHECK_SECONDS)
    if answered:
        yield _clocks(answered, len(read))


def _address(host: str, port: int | None) -> str:
    """Return a parsed address as a URI has it."""
    if port is None:  # a socket's path
        return quote(host, safe="")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sharding(client: Client, database: str, config: _Config) -> Iterator[Finding]:
    """Read the configuration of a cluster, and check the balancer and the shard keys."""
    recently = datetime.now(UTC) - timedelta(minutes=2)
    with explained_rights(client, MONITOR):
        shards = client["config"]["shards"].find().to_list()
        balancer = client["config"]["settings"].find_one({"_id": "balancer"}) or {}
        routers = client["config"]["mongos"].find({"ping": {"$gte": recently}}, {"_id": 1}).to_list()
    config.shards = {each["_id"]: each["host"].rpartition("/")[2].split(",") for each in shards}
    config.routers = {each["_id"] for each in routers}
    if balancer.get("stopped") or balancer.get("mode") == "off":
        yield warning("balancer", "it is off, so new documents stay on few shards: run sh.startBalancer().")
    else:
        yield ok("balancer", "it is on")
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


def _shards(shards: Mapping[str, list[Server]]) -> Finding:
    names = ", ".join(shards)
    answers = {name: {member.has_primary for member in members} for name, members in shards.items()}
    if lost := [name for name, has_primary in answers.items() if False in has_primary and True not in has_primary]:
        return problem(
            "shards",
            f"no primary in {', '.join(lost)} (of {names}), so writes there fail: start a majority of the members of "
            "each, and see rs.status() on one of them.",
        )
    if silent := [name for name, has_primary in answers.items() if has_primary == {None}]:
        return warning("shards", f"no member of {', '.join(silent)} (of {names}) answers this machine.")
    return ok("shards", f"{len(shards)} ({names})")


def _members(client: Client, shards: Mapping[str, list[Server]]) -> Iterator[Finding]:
    """Name the members that could not be asked, and for each reason the repair."""
    reasons: dict[str, list[str]] = {}
    for name, members in shards.items():
        for member in members:
            if member.error:
                reasons.setdefault(member.why_unread, []).append(f"{member.address} of shard {name}")
    if not reasons:
        return
    codes = {getattr(each.error, "code", None) for members in shards.values() for each in members if each.error}
    user = User.of(client)
    repairs = []
    if _AUTHENTICATION_FAILED in codes:
        repairs.append(
            "Shards do not know the users of routers: on the primary of each shard, as its administrator, run "
            f"{user.create(MONITOR)} with the password of LOOMQL_MONGODB_URI. If the shard has no users yet, first "
            "create one with the role userAdminAnyDatabase."
        )
    if UNAUTHORIZED in codes:
        repairs.append(f"On the primary of each shard, run {user.grant(MONITOR, 'admin')}.")
    if codes - {_AUTHENTICATION_FAILED, UNAUTHORIZED}:
        repairs.append("Start the members that do not run, restart those that hang, and let this machine reach all.")
    texts = "; ".join(f"{', '.join(members)} ({reason})" for reason, members in reasons.items())
    yield warning(
        "members",
        f"cannot be asked, so versions, clocks and {_INTERVAL} are not checked: {texts}. {' '.join(repairs)}",
    )


def _routers(client: Client, routers: list[Server], running: set[str], settings: Settings) -> Iterator[Finding]:
    names = ", ".join(router.address for router in routers)
    pool = THREADS + CONTROL_CONNECTIONS
    needed = settings.workers * pool
    few = [router for router in routers if router.connections is not None and router.connections < needed]
    others = ", ".join(sorted(running - {routers[0].name}))
    if unread := [router for router in routers if router.error]:
        texts = "; ".join(f"{router.address}: {router.why_unread}" for router in unread)
        yield warning(
            "routers",
            f"{texts}. Start them (mongos), let this machine reach them, or remove them from LOOMQL_MONGODB_URI.",
        )
    elif few:
        yield warning(
            "routers",
            f"{few[0].address} accepts {few[0].connections:,} connections, but {settings.workers} processes may open "
            f"{needed:,}: raise its net.maxIncomingConnections or its `ulimit -n`, or start fewer --workers.",
        )
    elif any(router.connections is None for router in routers):
        user = User.of(client)
        yield warning(
            "routers",
            f"{names} answer. Whether they accept the {needed:,} connections of {settings.workers} processes is not "
            f"checked, because the {user.text} may not run serverStatus: run {user.grant(MONITOR, 'admin')}.",
        )
    elif len(routers) == 1 and others and routers[0].name in running:
        yield warning(
            "routers", f"LOOMQL_MONGODB_URI names one router of {len(running)}: add {others}, in case it stops."
        )
    else:
        yield ok("routers", f"{names}; up to {pool} connections to each from each of {settings.workers} processes")


def _versions(answered: list[Server], asked: int) -> Finding:
    versions = sorted({server.version for server in answered})
    if len(versions) > 1:
        texts = "; ".join(f"{each}: {', '.join(s.address for s in answered if s.version == each)}" for each in versions)
        return warning("versions", f"{texts}. Upgrade all to one version, the routers last.")
    return ok("versions", f"{', '.join(versions)} on {len(answered)} of {asked} routers and members of shards")


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
    unread = [server.address for server in members if server.error]
    if members and not unread:
        yield ok("events", f"{_INTERVAL} is {NOOP_SECONDS} on all shards")
        return
    unknown = f"{_INTERVAL} of {', '.join(unread) or 'the shards'} is unknown"
    seconds = _event_seconds(client, database)
    if seconds is None:
        yield warning("events", f"events take more than {_MAX_EVENT_SECONDS:g} s, and {unknown}: {repair}.")
    else:
        yield ok("events", f"the last event took {seconds:.1f} s; {unknown}")


def _event_seconds(client: Client, database: str) -> float | None:
    """Measure the time after which an event arrives while nothing is written; None if two of them are too late.

    A server that pauses for a second delays one event; slow no-ops delay each.
    """
    late, follows_a_no_op = 0, False
    with client[database].watch(max_await_time_ms=200) as stream:
        while late < _LATE_EVENTS:
            seconds = _seconds_of_next(client, stream)
            is_late = seconds > _MAX_EVENT_SECONDS
            if follows_a_no_op and not is_late:
                return seconds
            late += is_late
            # An event ends with a no-op of the quietest shard, so the one after it takes a whole interval.
            follows_a_no_op = not is_late
    return None


def _seconds_of_next(client: Client, stream: ChangeStream[dict[str, Any]]) -> float:
    """Wait for the next event of all shards; infinity if it takes too long."""
    now = client.admin.command("ping")["operationTime"].time
    began = time.monotonic()
    while _time_of(stream.resume_token) <= now:
        if time.monotonic() - began > _MAX_EVENT_SECONDS:
            return math.inf
        stream.try_next()
    return time.monotonic() - began


def _time_of(token: Mapping[str, str] | None) -> int:
    """Return the seconds since 1970 in a resume token."""
    return int(token["_data"][2:10], 16) if token else 0


def _clocks(answered: list[Server], asked: int) -> Finding:
    wrong = [server for server in answered if abs(server.skew) > MAX_SKEW]
    if not wrong:
        return ok("clocks", f"{len(answered)} of {asked} servers agree with this machine to a second")
    texts = (
        f"{server.address} is {abs(server.skew).total_seconds():.1f} s "
        f"{'ahead of' if server.skew > MAX_SKEW else 'behind'}"
        for server in wrong
    )
    return warning("clocks", f"the clock of {', '.join(texts)} this machine's: run `timedatectl set-ntp true` on all.")
