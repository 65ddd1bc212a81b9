"""`python -m ordersaga.local.prepare`: fetch and prepare what the servers need, so that no test has to."""

from ordersaga.local.kafka import prepare_kafka
from ordersaga.local.postgres_parts import find_postgres_parts


def main() -> None:
    find_postgres_parts()
    prepare_kafka()


if __name__ == "__main__":
    main()
