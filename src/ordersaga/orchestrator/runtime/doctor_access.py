"""What a doctor finds at the doors: whether the database and the brokers let us in, and whether we may do there what we
have to. Each finding is well, or says what to do.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from ordersaga.bus.protocol import Access, Cluster
from ordersaga.orchestrator.runtime.finding import Finding
from ordersaga.orchestrator.store.probe import Probed, Trouble

OLDEST_SERVER = 150000
SHOWN_MAX = 5

CURES: Mapping[Trouble, str] = {
    Trouble.AWAY: "start the server, or see that host and port in DATABASE_URL are right",
    Trouble.REFUSED: "see that user and password in DATABASE_URL are right, and that the server lets this machine in",
    Trouble.NO_DATABASE: "create the database, or see that its name in DATABASE_URL is right",
    Trouble.FULL: "lower ORDERSAGA_DATABASE_CONNECTIONS_MAX, raise max_connections, or put a pooler in front",
    Trouble.TLS: "see that sslmode and sslrootcert in DATABASE_URL fit the server's certificate",
}


@dataclass(frozen=True, kw_only=True)
class DatabaseDoor:
    look: Callable[[], Probed]
    newest_schema: int

    def findings(self) -> Iterator[Finding]:
        """The first says whether the others could be asked for."""
        found = self.look()
        if found.trouble is not None:
            yield Finding(what="database", said=found.said, cure=CURES[found.trouble])
            return
        yield _server(found)
        yield _encryption(found)
        yield _writing(found)
        yield _rights(found)
        yield self._schema(found.schema_version)

    def _schema(self, version: int | None) -> Finding:
        newest, cure = self.newest_schema, "run `ordersaga migrate`, with the newest version that runs"
        if version is None:
            return Finding(what="schema", said="may not be looked at", cure="give the missing rights, then ask again")
        if version == 0:
            return Finding(what="schema", said="has no tables of ordersaga", cure=cure)
        if version < newest:
            return Finding(what="schema", said=f"is at version {version}, {newest} is needed", cure=cure)
        if version > newest:
            said = f"is at version {version}, this software knows {newest}: well while processes are changed over"
            return Finding(what="schema", said=said)
        return Finding(what="schema", said=f"is up to date (version {version})")


def _server(found: Probed) -> Finding:
    major, minor = divmod(found.server_version, 10_000)
    cure = "move to PostgreSQL 15 or newer" if found.server_version < OLDEST_SERVER else ""
    return Finding(what="database", said=f"answers: PostgreSQL {major}.{minor}, as {found.user}", cure=cure)


def _encryption(found: Probed) -> Finding:
    if found.is_encrypted:
        return Finding(what="database TLS", said="is on")
    far = "well inside of a private network only; sslmode=verify-full turns it on"
    return Finding(what="database TLS", said=f"is off: {'on this machine' if found.is_local else far}")


def _writing(found: Probed) -> Finding:
    if found.is_standby:
        cure = "let DATABASE_URL name the primary: host=...,... with target_session_attrs=read-write finds it"
        return Finding(what="writing", said="this server is a standby", cure=cure)
    if found.is_read_only:
        cure = "see default_transaction_read_only of the server, the database and the role"
        return Finding(what="writing", said="transactions are read-only", cure=cure)
    return Finding(what="writing", said="is possible")


def _rights(found: Probed) -> Finding:
    lacks = [*(["ownership of the tables"] if found.owners else []), *found.missing_rights]
    if not lacks:
        return Finding(what="rights", said=f"{found.user} may do all that is needed")
    shown, more = ", ".join(lacks[:SHOWN_MAX]), len(lacks) - SHOWN_MAX
    said = f"{found.user} lacks: {shown}{f' and {more} more' if more > 0 else ''}"
    cure = _ownership(found) if found.owners else f"GRANT these to {found.user}, or let it own the schema"
    return Finding(what="rights", said=said, cure=cure)


def _ownership(found: Probed) -> str:
    """A member may do what the owner may. It acts as the owner, too: what it made as itself, no owner could migrate."""
    owner = ", ".join(found.owners)
    if len(found.owners) > 1 or not found.is_membership_a_cure:
        role = f"one role that is no superuser (ALTER TABLE ... OWNER TO, now: {owner})"
        return f"let all tables be owned by {role}, and let {found.user} be that role, or act as it"
    return f"GRANT {owner} TO {found.user}, and ALTER ROLE {found.user} SET role = {owner}"


@dataclass(frozen=True, kw_only=True)
class BrokerDoor:
    describe: Callable[[], Cluster]
    access: Callable[[], Access]
    read: Collection[str]
    """Topics that are read."""
    written: Collection[str]
    group: str
    partitions: int
    """How many each is meant to have."""
    protocol: str

    def findings(self) -> Iterator[Finding]:
        """Raises `BusError`."""
        yield self._encryption()
        yield self._partitions(self.describe())
        yield self._rights(self.access())

    def _encryption(self) -> Finding:
        if self.protocol.endswith("SSL"):
            return Finding(what="kafka TLS", said="is on")
        said = "is off: well inside of a private network only; ORDERSAGA_KAFKA_SECURITY_PROTOCOL turns it on"
        return Finding(what="kafka TLS", said=said)

    def _partitions(self, cluster: Cluster) -> Finding:
        ours = sorted({*self.read, *self.written} & cluster.topics.keys())
        odd = {name: count for name in ours if (count := cluster.topics[name].partitions) != self.partitions}
        if not odd:
            return Finding(what="partitions", said=f"{self.partitions} of each topic")
        said = ", ".join(f"{name} has {count}" for name, count in odd.items()) + f", {self.partitions} are meant"
        cure = (
            f"set ORDERSAGA_KAFKA_PARTITIONS to what is meant ({min(odd.values())}?), or give the topics as many in a"
            " quiet hour; never fewer"
        )
        return Finding(what="partitions", said=said, cure=cure)

    def _rights(self, access: Access) -> Finding:
        missing = [
            f"{right} on topic {name}" for right, name in self.needed() if _lacks(access.topics.get(name), right)
        ]
        if _lacks(access.group, "READ"):
            missing.append(f"READ on group {self.group}")
        if not missing:
            return Finding(what="kafka rights", said="all that is needed, as far as the brokers say")
        shown, more = ", ".join(missing[:SHOWN_MAX]), len(missing) - SHOWN_MAX
        said = f"we may not: {shown}{f' and {more} more' if more > 0 else ''}"
        return Finding(what="kafka rights", said=said, cure="give our user these rights with kafka-acls")

    def needed(self) -> Iterator[tuple[str, str]]:
        """What is written is read, too: what a dead process left is looked for there before it is sent again."""
        yield from (("READ", name) for name in sorted({*self.read, *self.written}))
        yield from (("WRITE", name) for name in sorted(self.written))


def _lacks(told: Collection[str] | None, right: str) -> bool:
    return told is not None and right not in told
