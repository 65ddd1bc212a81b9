"""Measurements on real Apache Kafka and PostgreSQL. `python -m bench --help` says which."""
