"""The address of a database is looked at before anybody connects with it, and what is wrong is said without it."""

import pytest

from ordersaga.delivery.database_address import passwords_in, problem_of
from tests.canaries import PASSWORD

FINE = (
    "postgresql://saga@db/saga",
    f"postgres://saga:{PASSWORD}@db:5432/saga?sslmode=require",
    f"postgresql://saga:{PASSWORD}@db-1:5432,db-2:5433/saga?target_session_attrs=read-write",
    f"postgresql://saga:{PASSWORD}%40%2F%25@[::1]:5432/saga",
    "postgresql:///saga?host=/run/postgresql",
    f"host=db user=saga password='{PASSWORD} with a blank' dbname=saga",
)
WRONG = (
    f"postgresql+psycopg://saga:{PASSWORD}@db/saga",
    f"postgres+asyncpg://saga:{PASSWORD}@db/saga",
    f"mysql://saga:{PASSWORD}@db/saga",
    f"saga:{PASSWORD}@db/saga",
    f"postgresql://saga:{PASSWORD}%@db/saga",
    f"postgresql://saga:{PASSWORD}%zz@db/saga",
    f"postgresql://saga:{PASSWORD}%FF@db/saga",
    f"postgresql://saga:{PASSWORD}\ud800@db/saga",
    f"postgresql://saga:{PASSWORD}@7@db/saga",
    f"postgresql://saga:{PASSWORD}/7@db/saga",
    f"postgresql://saga:77/{PASSWORD}@db/saga",
    f"postgresql://saga@db/saga?pasword={PASSWORD}",
    f"host=db password={PASSWORD} with a blank",
    PASSWORD,
)


@pytest.mark.parametrize("address", FINE, ids=range(len(FINE)))
def test_what_libpq_reads_as_it_was_meant_is_fine(address: str) -> None:
    assert problem_of(address) == ""


@pytest.mark.parametrize("address", WRONG, ids=range(len(WRONG)))
def test_what_it_cannot_read_or_reads_otherwise_is_said_without_quoting_it(address: str) -> None:
    said = problem_of(address)
    assert said and PASSWORD not in said and "saga" not in said


def test_a_drivers_name_is_said_to_be_the_fault() -> None:
    assert "SQLAlchemy" in problem_of("postgresql+psycopg://saga@db/saga")


def test_passwords_are_known_as_they_are_meant_and_as_they_are_written() -> None:
    assert passwords_in("postgresql://saga:a%40b@db/saga") == {"a@b", "a%40b"}
    assert passwords_in("postgresql://saga:a?b@db/saga") == {"a?b"}
    assert passwords_in("postgresql://db/saga?password=a%25b&sslpassword=c") == {"a%b", "c"}
    assert passwords_in("host=db password='a b'") == {"a b"}
    assert passwords_in("postgresql://saga@db:5432/saga") == passwords_in("anything") == set()
