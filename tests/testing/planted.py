"""A planted fault for each property: what a participant that lacks it does. A run has to name that property, and no
other but those that cannot be had without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from ordersaga.wire.topics import Participant
from tests.testing import faults as f
from tests.testing.in_memory import Fault

ORDER, USER, PAYMENT, TIMER = Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER
NOTIFICATION = Participant.NOTIFICATION
AUTHORIZED, RELEASED = "payment.authorized", "payment.released"
ACCEPTED, GIVEN_BACK = "order.accepted", "order.acceptance_cancelled"
RUNNERS_HEARD = "says what its runners do"
AUTHORIZE, REVERT = "authorize_payment", "revert_payment"


@dataclass(frozen=True)
class Planted:
    what: str
    participant: Participant
    lacks: str
    fault: Callable[[], Fault]
    """Made anew for each run: some count."""
    follows: frozenset[str] = frozenset()
    """What is found missing besides, always."""
    may_follow: frozenset[str] = frozenset()
    """Or sometimes: where it depends on what comes first."""
    restarts: bool = False
    one_at_a_time: bool = False
    ledger: bool = True
    """Whether there is one to look at."""


def plant(participant: Participant, what: str, lacks: str, fault: Callable[[], Fault], **more: Any) -> Planted:
    return Planted(what, participant, lacks, fault, **more)


MINDS_HEADERS = f.deaf_to(lambda record, said: any(name == "x-unheard-of" for name, _ in record.headers))
MINDS_FIELDS = f.deaf_to(lambda record, said: "x_unheard_of" in said)


def names_no_cause(type_name: str = "") -> Callable[[], Fault]:
    return f.says(lambda said: said.pop("causation_id", None), type_name)


PLANTED: tuple[Planted, ...] = (
    plant(PAYMENT, "says nothing at all", "answers", lambda: Fault(says=lambda record: [])),
    plant(
        ORDER,
        "says nothing to one command",
        "answers",
        lambda: Fault(says=lambda record: [] if f.type_of(record) == "order.status_updated" else [record]),
    ),
    plant(
        PAYMENT,
        "answers under an id of its own",
        "echoes correlation_id",
        f.says(lambda said: said.update(correlation_id="payment-7")),
    ),
    plant(
        PAYMENT,
        "says a number where a text belongs",
        "speaks the contract",
        f.says(lambda said: said["payload"].update(status=5), AUTHORIZED),
    ),
    plant(PAYMENT, "minds fields", "ignores unknown fields", MINDS_FIELDS),
    plant(PAYMENT, "minds headers", "ignores unknown headers", MINDS_HEADERS),
    plant(USER, "answers anything", "leaves others alone", f.answers_anything),
    plant(ORDER, "names one order for another", "keeps sagas apart", f.names_one_for_another, one_at_a_time=True),
    plant(
        USER,
        "loses one of many",
        "answers many at once",
        f.loses_one_of_many(lambda said: said.get("payload") == {"user_id": "conformance"}),
        one_at_a_time=True,
    ),
    plant(
        ORDER,
        "confirms a cancel and cancels nothing",
        "takes back",
        f.decides(f.confirms_and_does_nothing),
        follows=frozenset({"stays undone", "confirms an undo again"}),
    ),
    plant(PAYMENT, "holds a cent more", "holds the exact amount", lambda: Fault(ledger=f.holds_a_cent_more)),
    plant(TIMER, "never fires", "fires on time", f.decides(f.fires(+3600))),
    plant(TIMER, "fires early", "fires on time", f.decides(f.fires(-1.8))),
    plant(TIMER, "fires after a cancel", "fires not after a cancel", f.fires_all_the_same),
    plant(TIMER, "fires again and again", "fires once", f.twice("timer.expired")),
    plant(ORDER, "does not say that a runner took it", RUNNERS_HEARD, f.mute_about(ACCEPTED)),
    plant(ORDER, "does not say that a runner gave it back", RUNNERS_HEARD, f.mute_about(GIVEN_BACK)),
    plant(
        ORDER,
        "says that a runner took another",
        RUNNERS_HEARD,
        f.says(lambda said: said["payload"].update(order_id="order-another"), ACCEPTED),
    ),
    plant(
        ORDER,
        "says that a runner took one that it does not name",
        RUNNERS_HEARD,
        f.says(lambda said: said["payload"].pop("order_id"), ACCEPTED),
    ),
    plant(ORDER, "stamps what a runner does by another clock", RUNNERS_HEARD, f.says(f.old_time, ACCEPTED)),
    plant(ORDER, "lets runners take what is not paid", "accepts only what is open", f.lets_runners_take("PENDING")),
    plant(ORDER, "lets runners take what is cancelled", "accepts only what is open", f.lets_runners_take("CANCELLED")),
    plant(PAYMENT, "says everything twice", "answers once", f.twice(RELEASED)),
    plant(PAYMENT, "names no cause", "carries causation_id", names_no_cause()),
    plant(PAYMENT, "names no cause of a refusal", "carries causation_id", names_no_cause("payment.failed")),
    plant(ORDER, "names no cause of a cancel", "carries causation_id", names_no_cause("order.cancelled")),
    plant(TIMER, "names no cause where a cancel was faster", "carries causation_id", names_no_cause("timer.failed")),
    plant(PAYMENT, "sets no key", "keys by saga", lambda: Fault(says=lambda record: [replace(record, key=b"")])),
    plant(
        PAYMENT,
        "gives its answers no id",
        "has message ids",
        f.says(lambda said: said.pop("message_id")),
        follows=frozenset({"repeats its answer's id"}),
    ),
    plant(
        PAYMENT,
        "stamps without a zone",
        "stamps in UTC",
        f.says(lambda said: said.update(timestamp=said["timestamp"].rstrip("Z"))),
    ),
    plant(PAYMENT, "has no headers", "has CloudEvents headers", f.headers(lambda name: name == "traceparent")),
    plant(PAYMENT, "ends the trace", "passes on the trace", f.headers(lambda name: name != "traceparent")),
    plant(PAYMENT, "is silent where it should refuse", "refuses", f.decides(f.is_silent_for_refusing)),
    plant(
        PAYMENT,
        "forgets after three times",
        "recognises repeats",
        f.says_of_the(4, lambda said: said["payload"].update(payment_intent_id="pi_again"), AUTHORIZED),
    ),
    plant(
        PAYMENT,
        "knows repeats by their id only",
        "recognises repeats without ids",
        f.deaf_to_the(2, lambda said: f.is_a(said, AUTHORIZE) and "message_id" not in said),
    ),
    plant(
        PAYMENT,
        "draws an id for each answer",
        "repeats its answer's id",
        f.says_of_the(2, lambda said: said.update(message_id=str(uuid4())), AUTHORIZED),
    ),
    plant(PAYMENT, "stamps a repeat anew", "repeats its first time", f.says_of_the(2, f.new_time, AUTHORIZED)),
    plant(
        ORDER,
        "answers an update by its state",
        "repeats its first time",
        f.decides(f.answers_an_update_by_state),
        follows=frozenset({"keeps an acceptance"}),
    ),
    plant(
        ORDER,
        "updates whatever is not cancelled",
        "keeps an acceptance",
        f.decides(f.updates_whatever_is_not_cancelled),
        follows=frozenset({"repeats its first time"}),
    ),
    plant(
        ORDER,
        "takes a repeat of an update for one",
        "keeps an acceptance",
        f.updates_and_says_what_it_said_first,
    ),
    plant(
        PAYMENT,
        "wants the payment's id",
        "takes back without the id",
        f.deaf_once_answered(lambda said: f.is_a(said, REVERT, by_id=False)),
        follows=frozenset({"ends alike in any order"}),
    ),
    plant(
        PAYMENT,
        "tires of undos",
        "confirms an undo again",
        f.deaf_to_the(3, lambda said: f.is_a(said, REVERT, by_id=True)),
    ),
    plant(ORDER, "brings orders back to life", "stays undone", f.decides(f.brings_back_to_life)),
    plant(
        PAYMENT,
        "holds anew what was given back",
        "stays undone",
        f.authorizes_anew,
        may_follow=frozenset({"ends alike in any order"}),
        ledger=False,
    ),
    plant(
        PAYMENT,
        "forgets early undos",
        "tombstones",
        f.decides(f.forgets_early_undos),
        may_follow=frozenset({"ends alike in any order"}),
    ),
    plant(PAYMENT, "remembers refusals", "tries a refused undo again", f.decides(f.remembers_refusals)),
    plant(PAYMENT, "trusts in order", "ends alike in any order", f.keeps_what_came_without_a_key),
    plant(
        ORDER,
        "cancels what a runner has",
        "refuses where a runner was faster",
        f.decides(f.cancels_what_a_runner_has),
        follows=frozenset({"keeps an acceptance"}),
    ),
    plant(PAYMENT, "stops at a bad time", "survives malformed records", f.dies_of(b"tomorrow")),
    plant(ORDER, "stops where there is no value", "survives malformed records", f.dies_of(None)),
    plant(
        PAYMENT,
        "forgets its answers when it is killed",
        "recognises repeats after a restart",
        f.keeps(f.loses_answers),
        restarts=True,
    ),
    plant(
        PAYMENT,
        "loses answers when it is killed",
        "answers once committed",
        f.silent_after((3, 4, 5)),
        may_follow=frozenset({"recognises repeats after a restart"}),
        restarts=True,
    ),
    plant(PAYMENT, "loses holds when it is killed", "answers once committed", f.keeps(f.loses_rows), restarts=True),
    plant(TIMER, "loses timers when it is killed", "fires after a restart", f.keeps(f.loses_timers), restarts=True),
    plant(NOTIFICATION, "keeps nothing", "keeps notices", f.deaf_to(lambda record, said: True)),
    plant(NOTIFICATION, "minds fields", "ignores unknown fields", MINDS_FIELDS),
    plant(NOTIFICATION, "minds headers", "ignores unknown headers", MINDS_HEADERS),
    plant(
        NOTIFICATION,
        "loses one of many",
        "keeps customers apart",
        f.loses_one_of_many(lambda said: f.is_a(said, "notification.order_confirmed") and "title" in said["payload"]),
        one_at_a_time=True,
    ),
    plant(NOTIFICATION, "knows no repeats", "recognises repeats", f.a_new_id_for_each),
    plant(NOTIFICATION, "stops at a bad record", "survives malformed records", f.dies_of(b"please")),
    plant(
        NOTIFICATION,
        "loses notices when it is killed",
        "keeps notices through a restart",
        f.keeps(f.loses_rows),
        restarts=True,
    ),
)
