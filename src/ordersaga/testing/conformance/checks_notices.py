"""Checks of the notification service. It answers nobody, so everything is read from its ledger."""

from ordersaga.testing.conformance.checks_poison import POISON
from ordersaga.testing.conformance.restarting import restart
from ordersaga.testing.conformance.subject import Case
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk
from ordersaga.wire import messages as m

AT_ONCE = 30


def keeps_notices(talk: Talk) -> str:
    case = talk.case()
    talk.tell(case, talk.do(case))
    _kept(talk, case, 1, "a notice was sent")
    return "a notice was sent and is kept"


def keeps_each_notice_once(talk: Talk) -> str:
    """Another one comes after its repeats: when that is kept, they were read."""
    case = _after_a_sound_one(talk)
    notice = talk.do(case)
    talk.tell(case, notice, notice, notice)
    talk.tell(case, _another(case, notice))
    _kept(talk, case, 2, "a notice, its two repeats, and another notice were sent", for_good=True)
    return "a notice, its two repeats, and another notice were sent: two are kept"


def ignores_unknown_fields(talk: Talk) -> str:
    case = _after_a_sound_one(talk)
    talk.tell(case, talk.do(case), more={"x_unheard_of": {"a": [1, None]}})
    _kept(talk, case, 1, "a notice with fields that it cannot know was sent")
    return "a notice with fields that it cannot know is kept"


def ignores_unknown_headers(talk: Talk) -> str:
    case = _after_a_sound_one(talk)
    talk.tell(case, talk.do(case), headers=(("x-unheard-of", b"\xff\x00"), ("ce_id", b""), ("x-unheard-of", b"")))
    _kept(talk, case, 1, "a notice with headers that it cannot know was sent")
    return "a notice with headers that it cannot know is kept"


def keeps_customers_apart(talk: Talk) -> str:
    _after_a_sound_one(talk)
    cases = [talk.case() for _ in range(AT_ONCE)]
    for case in cases:
        talk.tell(case, talk.do(case))
    for case in cases:
        _kept(talk, case, 1, f"{AT_ONCE} customers were told at once")
    return f"{AT_ONCE} customers were told at once: one notice is kept for each"


def survives_poison(talk: Talk) -> str:
    _after_a_sound_one(talk)
    for name, making in POISON.items():
        case = talk.case()
        notice = talk.do(case)
        talk.tell_raw(case, making(m.type_of(notice), talk.case().saga_id))
        talk.tell(case, notice)
        _kept(talk, case, 1, f"a notice was sent after {name}")
    return f"after each of {len(POISON)} malformed records a notice was kept"


def keeps_notices_through_a_restart(talk: Talk) -> str:
    """The kill comes when some are kept."""
    _after_a_sound_one(talk)
    cases = [talk.case() for _ in range(AT_ONCE)]
    for case in cases:
        talk.tell(case, talk.do(case))
    talk.until(lambda: bool(talk.effects(cases[AT_ONCE // 3])), talk.subject.answer_seconds)
    restart(talk)
    talk.tell(cases[0], talk.do(cases[0]))
    for case in cases:
        _kept(talk, case, 1, "it was killed in between", recovering=True)
    return f"{AT_ONCE} notices, killed in between: each is kept once"


def _after_a_sound_one(talk: Talk) -> Case:
    """A new case, once a plain notice was kept: whoever keeps none cannot be tried any further."""
    case = talk.case()
    talk.tell(case, talk.do(case))
    try:
        _kept(talk, case, 1, "a plain notice was sent")
    except Lacks as error:
        raise NotTried(str(error)) from error
    return talk.case()


def _kept(talk: Talk, case: Case, count: int, what: str, *, for_good: bool = False, recovering: bool = False) -> None:
    """`for_good`: not more either, a while later."""
    if talk.subject.ledger is None:
        raise NotTried("it answers nobody, and there is no ledger to look at")

    def kept() -> int:
        return sum(one.stands for one in talk.effects(case) or ())

    talk.until(lambda: kept() >= count, talk.subject.recovery_seconds if recovering else talk.subject.answer_seconds)
    if for_good:
        talk.until(lambda: kept() > count, talk.subject.quiet_seconds)
    found = kept()
    if found != count:
        raise Lacks(f"{what}: {found} are kept and not {count}")


def _another(case: Case, notice: m.Message) -> m.Message:
    assert isinstance(notice, m.OrderConfirmedNotice)
    return m.OrderCancelledNotice(
        saga_id=case.saga_id,
        customer_id=case.customer_id,
        status="CANCELLED",
        title="Your order is cancelled",
        explanation="As you wished.",
        money="It is released.",
    )
