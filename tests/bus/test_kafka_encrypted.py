"""Brokers that want encryption, passwords, certificates: set up as a user does it, by settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import KafkaClients
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import BusUnavailable, Outgoing, TopicSpec
from ordersaga.connecting import kafka_bus
from ordersaga.local.kafka import KafkaCluster
from ordersaga.settings import Settings
from tests.bus.conftest import unique
from tests.bus.reading import eventually, member, publish, read, values
from tests.faults.proxy import FaultProxy

USER, PASSWORD = "orders", "right-c4n4ry-secret"
_JAAS = "org.apache.kafka.common.security"
LISTENER = "listener.name.proxied"


class Certificates:
    """An authority of our own, and what it signed, as files."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.authority = directory / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.broker = directory / "broker.pem"
        broker = authority.issue_cert("127.0.0.1")
        # Kafka reads keys in this form only.
        key = load_pem_private_key(broker.private_key_pem.bytes(), None)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.broker.write_bytes(private + b"".join(blob.bytes() for blob in broker.cert_chain_pems))
        client = authority.issue_cert("orders@campus.example")
        self.client, self.client_key = directory / "client.pem", directory / "client.key"
        client.cert_chain_pems[0].write_to_path(str(self.client))
        client.private_key_pem.write_to_path(str(self.client_key))
        self.stranger = directory / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(str(self.stranger))

    def of_broker(self, protocol: str, client_certificate: str) -> dict[str, str]:
        return {
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:{protocol}",
            f"{LISTENER}.ssl.keystore.type": "PEM",
            f"{LISTENER}.ssl.keystore.location": str(self.broker),
            f"{LISTENER}.ssl.truststore.type": "PEM",
            f"{LISTENER}.ssl.truststore.location": str(self.authority),
            f"{LISTENER}.ssl.client.auth": client_certificate,
        }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def with_passwords(certificates: Certificates) -> Iterator[KafkaCluster]:
    settings = certificates.of_broker("SASL_SSL", "none") | {
        f"{LISTENER}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"{LISTENER}.plain.sasl.jaas.config": f'{_JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        f"{LISTENER}.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        f"{LISTENER}.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
    }
    with KafkaCluster.start(extra=settings) as cluster:
        admin = KafkaClients(cluster.bootstrap_servers, KafkaSecurity(), KafkaTimings()).open_admin("accounts")
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            admin.alter_user_scram_credentials([_account(mechanism)])
        admin.close()
        ports = cluster.nodes[0].ports
        with FaultProxy(ports.behind_proxy, port=ports.proxy):
            yield cluster


def _account(mechanism: str) -> object:
    from kafka.admin import UserScramCredentialUpsertion

    return UserScramCredentialUpsertion(USER, mechanism, PASSWORD)


def bus_of(cluster: KafkaCluster, **settings: object) -> KafkaBus:
    address = f"127.0.0.1:{cluster.nodes[0].ports.proxy}"
    return kafka_bus(Settings.model_validate({"kafka_bootstrap_servers": address, **settings}))


def carries_a_record(bus: KafkaBus) -> None:
    topic = unique("secret-topic")
    eventually(lambda: list(bus.create_topics([TopicSpec(topic, 1, {})])) == [topic], "no topic could be made")
    publish(bus, Outgoing(topic, b"k", b"one"))
    with member(bus, unique("group"), topic) as consumer:
        assert values(read(consumer, 1)) == [b"one"]
    bus.close(5.0)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_over_an_encrypted_connection(
    with_passwords: KafkaCluster, certificates: Certificates, mechanism: str
) -> None:
    carries_a_record(
        bus_of(
            with_passwords,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism=mechanism,
            kafka_sasl_username=USER,
            kafka_sasl_password=PASSWORD,
            kafka_tls_ca_path=certificates.authority,
        )
    )


def test_a_broker_that_a_stranger_signed_is_not_spoken_to(
    with_passwords: KafkaCluster, certificates: Certificates
) -> None:
    bus = bus_of(
        with_passwords,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username=USER,
        kafka_sasl_password=PASSWORD,
        kafka_tls_ca_path=certificates.stranger,
    )
    with pytest.raises(BusUnavailable) as refused:
        bus.check(15.0)
    assert "certificate" in str(refused.value).lower() and PASSWORD not in str(refused.value)
    bus.close(2.0)


def test_a_client_shows_its_own_certificate(certificates: Certificates) -> None:
    with KafkaCluster.start(extra=certificates.of_broker("SSL", "required")) as cluster:
        ports = cluster.nodes[0].ports
        with FaultProxy(ports.behind_proxy, port=ports.proxy):
            shown = {
                "kafka_security_protocol": "SSL",
                "kafka_tls_ca_path": certificates.authority,
                "kafka_tls_certificate_path": certificates.client,
                "kafka_tls_key_path": certificates.client_key,
            }
            carries_a_record(bus_of(cluster, **shown))
            nameless = bus_of(cluster, kafka_security_protocol="SSL", kafka_tls_ca_path=certificates.authority)
            with pytest.raises(BusUnavailable):
                nameless.check(10.0)
            nameless.close(2.0)
