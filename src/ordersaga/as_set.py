"""The sagas and the topics as the settings have them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ordersaga.bus.protocol import TopicSpec
from ordersaga.orchestrator.core.definition import BACKWARD, FORWARD, Definition, Kind, Patience, Step, Undo
from ordersaga.orchestrator.runtime.archiving import ArchiveSettings
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.sagas import EVERY
from ordersaga.settings import Settings
from ordersaga.wire.topics import Participant, Topics

TOPIC_RETENTION_MS = 7 * 24 * 3600 * 1000
WITHOUT_TIMER = 1000
"""Added to the version of a saga that leaves the timer service out: a saga under way goes on as it began."""


def topics_of(settings: Settings) -> Topics:
    return Topics(**{name: getattr(settings, f"topic_{name}") for name in Topics.__dataclass_fields__})


def topic_specs(settings: Settings) -> Sequence[TopicSpec]:
    """What customers say is on them, so they keep it for a week at most, whatever the brokers' default."""
    kept = {"retention.ms": str(TOPIC_RETENTION_MS)}
    return [TopicSpec(name, settings.kafka_partitions, kept) for name in topics_of(settings).all()]


def sagas_of(settings: Settings) -> Sagas:
    """Those that the participants are fit for: one that needs a full participant is not begun where that is bare. One
    that starts a timer is there with and without, so that a change of the setting strands no saga under way.
    """
    kinds = kinds_of(settings)
    fit = [one for one in EVERY if all(kinds[to] is Kind.FULL for to in one.full_only)]
    whole = [definition_of(one, settings) for one in fit]
    without = {one: _without_timer(one) for one in whole if any(step.do.to is Participant.TIMER for step in one.steps)}
    newest = {one.name: one for one in sorted(whole, key=lambda one: one.version)}.values()
    begun = newest if settings.start_timer else [without.get(one, one) for one in newest]
    return Sagas([*whole, *without.values()], begins={one.name: one.version for one in begun})


def kinds_of(settings: Settings) -> dict[Participant, Kind]:
    return {one: Kind(getattr(settings, f"participant_{one.value}")) for one in Participant}


def definition_of(definition: Definition, settings: Settings) -> Definition:
    """With the patience, the window and the participants that are set."""
    forward = replace(FORWARD, timeout_seconds=settings.step_timeout_seconds, attempts_max=settings.step_attempts_max)
    backward = replace(
        BACKWARD,
        timeout_seconds=settings.undo_timeout_seconds,
        attempts_max=settings.undo_attempts_max,
        backoff_seconds_max=settings.undo_backoff_seconds_max,
    )
    patience = {FORWARD: forward, BACKWARD: backward}
    # Steps share an undo, and go on sharing it: one new undo for each old one.
    undos = {undo.name: replace(undo, patience=_set(patience, undo.patience)) for undo in definition.undos()}
    return replace(
        definition,
        steps=tuple(_as_set(step, patience, undos) for step in definition.steps),
        undo_order=tuple(undos[undo.name] for undo in definition.undo_order),
        window_seconds=settings.acceptance_window_seconds,
        window_after_reopening_seconds=settings.acceptance_window_after_reopening_seconds,
        hold_seconds_max=settings.hold_seconds_max,
        kinds=kinds_of(settings),
    )


def _as_set(step: Step, patience: dict[Patience, Patience], undos: dict[str, Undo]) -> Step:
    undo = undos[step.undo.name] if step.undo else None
    return replace(step, patience=_set(patience, step.patience), undo=undo)


def _set(patience: dict[Patience, Patience], given: Patience) -> Patience:
    """What a step says of its own stays; the two defaults are settings."""
    return patience.get(given, given)


def _without_timer(definition: Definition) -> Definition:
    steps = tuple(step for step in definition.steps if step.do.to is not Participant.TIMER)
    kept = {step.undo.name for step in steps if step.undo}
    return replace(
        definition,
        version=definition.version + WITHOUT_TIMER,
        steps=steps,
        undo_order=tuple(undo for undo in definition.undo_order if undo.name in kept),
    )


def archive_settings(settings: Settings, older_than: timedelta | None = None) -> ArchiveSettings:
    after, forget = settings.archive_after_days, settings.archive_forget_after_days
    return ArchiveSettings(
        older_than=older_than if older_than is not None else timedelta(days=after) if after else None,
        forget_after=timedelta(days=forget) if forget else None,
        file_after=timedelta(days=settings.archive_files_after_days),
    )
