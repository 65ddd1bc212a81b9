"""Faults on real parts: a proxy, a deployment of processes, traffic, checkers, and the runs made of them.

python -m tests.faults.crash          every failpoint, killed there
python -m tests.faults.chaos          everything at random
python -m tests.faults.outage         Kafka, PostgreSQL or both gone for minutes
python -m tests.faults.storm          a member of the group comes or goes every few seconds
"""
