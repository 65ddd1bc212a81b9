"""Serving HTTP: what the orchestrator and the participants have in common."""
