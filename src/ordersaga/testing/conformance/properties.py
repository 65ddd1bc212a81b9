"""What a participant can be, and why it matters: each property with the check that tries it.

A *bare* participant promises what the orchestrator cannot do without, a *full* one what it builds on; what nobody
promises is worth having, and no reason to run a service otherwise. The catalogue follows the messages of the platform
and what is said there of full participants; the reasons are the rules of [the saga](../../../docs/rules.md) that would
be broken, and what that costs.
"""

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance import checks_crash as crash
from ordersaga.testing.conformance import checks_notices as notices
from ordersaga.testing.conformance import checks_poison as poison
from ordersaga.testing.conformance import checks_repeats as repeats
from ordersaga.testing.conformance import checks_runners as runners
from ordersaga.testing.conformance import checks_said as said
from ordersaga.testing.conformance import checks_timer as timers
from ordersaga.testing.conformance import checks_undo as undo
from ordersaga.testing.conformance.property import Property, When
from ordersaga.wire.topics import Participant

ORDER, USER, PAYMENT, TIMER = Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER
NOTIFICATION = Participant.NOTIFICATION
ANSWERING = (ORDER, USER, PAYMENT, TIMER)
UNDOING = (ORDER, PAYMENT, TIMER)


def properties_of(participant: Participant) -> list[Property]:
    return [one for one in PROPERTIES if participant in one.of]


PROPERTIES: tuple[Property, ...] = (
    Property(
        name="answers",
        says="Each command that can be carried out is, and is answered so.",
        why="Rule 2: a step without an answer is in doubt; the order is given up and a person may have to look.",
        check=said.answers,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="echoes correlation_id",
        says="An answer carries the correlation_id of its command.",
        why="Rule 1: it is how an answer finds its saga. Without it the step counts as silent.",
        check=said.echoes_correlation_id,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="speaks the contract",
        says="Every answer has the fields and types that its type promises.",
        why="What cannot be read is set aside: the step counts as silent, and what it did has no id to undo it by.",
        check=said.speaks_the_contract,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="ignores unknown fields",
        says="Fields that it does not know change nothing.",
        why="Commands carry more than old services know; a service that minds them answers nothing.",
        check=said.ignores_unknown_fields,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="ignores unknown headers",
        says="Headers that it does not know, or that are broken, change nothing.",
        why="Each command has headers for tracing and for CloudEvents.",
        check=said.ignores_unknown_headers,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="leaves others alone",
        says="It answers nothing that is not for it.",
        why="Topics are shared: an answer to somebody else's command is a refusal or a success that nobody asked for.",
        check=said.leaves_others_alone,
        of=ANSWERING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="keeps sagas apart",
        says="Of many sagas at once each has its own effect, and an undo of one touches no other.",
        why="Rule 3: an undo that hits another order gives the wrong customer's money back.",
        check=undo.keeps_sagas_apart,
        of=UNDOING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="answers many at once",
        says="Of many sagas at once each is answered.",
        why="Rule 2: whoever is left out waits in vain, and the order is given up.",
        check=undo.keeps_sagas_apart,
        of=(USER,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="takes back",
        says="An undo that names what it undoes is confirmed, and nothing of it stands.",
        why="Rule 3: a confirmed undo is the end of it. What stands all the same is money that nobody looks for.",
        check=undo.takes_back,
        of=UNDOING,
        promised_by=Kind.BARE,
    ),
    Property(
        name="holds the exact amount",
        says="What it holds is what was asked for, to the cent.",
        why="A hold of another amount is the customer's loss or ours, and the reconciliation's only finding.",
        check=undo.holds_the_exact_amount,
        of=(PAYMENT,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="says what its runners do",
        says="When a runner takes an order, or gives it back, that is said, of this order.",
        why="Rule 8: an order that nobody says was accepted is cancelled by the clock, and delivered all the same.",
        check=runners.says_what_its_runners_do,
        of=(ORDER,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="accepts only what is open",
        says="No runner can take an order before it is CREATED, or after it was cancelled.",
        why="Rule 3: what is not paid, or whose money is on its way back, would be delivered.",
        check=runners.accepts_only_what_is_open,
        of=(ORDER,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="fires on time",
        says="A timer fires when its time has come, not before.",
        why="Rule 8: an early one cancels an order that a runner was about to take. (One minute early is ignored.)",
        check=timers.fires_on_time,
        of=(TIMER,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="fires not after a cancel",
        says="A timer that was cancelled does not fire.",
        why="Rule 8: it would cancel, by the clock, what was settled already.",
        check=timers.fires_not_after_a_cancel,
        of=(TIMER,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="fires once",
        says="A timer that has fired does not fire again.",
        why="Rule 8: one that never ends is read for ever, and cuts short the window of an order that is open again.",
        check=timers.fires_once,
        of=(TIMER,),
    ),
    Property(
        name="answers once",
        says="One command, one answer.",
        why="A second answer is a repeat and harms nobody, but for a service that did its work twice to give it.",
        check=said.answers_once,
        of=ANSWERING,
    ),
    Property(
        name="carries causation_id",
        says="Each answer, a refusal too, carries the message_id of the command that it answers.",
        why="Rule 2: it tells whose refusal it is. A confirmation without it confirms no undo: FAILED, the money held.",
        check=said.carries_causation_id,
        of=ANSWERING,
    ),
    Property(
        name="keys by saga",
        says="The key of each answer is the saga's id.",
        why="Answers of one saga stay in their order and on one orchestrator; unkeyed ones overtake each other.",
        check=said.keys_by_saga,
        of=ANSWERING,
    ),
    Property(
        name="has message ids",
        says="Each answer has a message_id of its own, a UUID.",
        why="Whoever reads events can recognise repeats by it, and CloudEvents asks for one.",
        check=said.has_message_ids,
        of=ANSWERING,
    ),
    Property(
        name="stamps in UTC",
        says="A timestamp is ISO 8601 and ends with Z.",
        why="Rule 1: of what is said of one order the newest counts. A stamp that reads two ways decides wrongly.",
        check=said.stamps_in_utc,
        of=ANSWERING,
    ),
    Property(
        name="has CloudEvents headers",
        says="Each answer has ce_id, ce_type, ce_source, ce_time and ce_correlationid, as in its body.",
        why="Tools that read headers only route, filter and show by them.",
        check=said.has_cloud_event_headers,
        of=ANSWERING,
    ),
    Property(
        name="passes on the trace",
        says="An answer to a command with a traceparent belongs to the same trace.",
        why="Without it the trace of an order ends at its first command, and nobody sees where it waits.",
        check=said.passes_on_the_trace,
        of=ANSWERING,
    ),
    Property(
        name="refuses",
        says="What it cannot do it refuses, in words; it is not silent.",
        why="Rule 2: a refused step left nothing behind and is over. A silent one is in doubt until it is undone.",
        check=said.refuses,
        of=(ORDER, USER, PAYMENT),
    ),
    Property(
        name="recognises repeats",
        says="A command that comes again with its message_id is answered again, and has no second effect.",
        why="Rule 6: commands are repeated. Each repeat that is not recognised is a second order or a second hold.",
        check=repeats.recognises_repeats,
        of=ANSWERING,
    ),
    Property(
        name="recognises repeats without ids",
        says="Without a message_id a repeat is recognised by saga and type.",
        why="Senders that are older than message_id repeat as well.",
        check=repeats.recognises_repeats_without_ids,
        of=ANSWERING,
    ),
    Property(
        name="repeats its answer's id",
        says="The answer to a repeat has the message_id of the first one.",
        why="Whoever counts answers counts one.",
        check=repeats.repeats_its_answer_id,
        of=ANSWERING,
        promised_by=None,
    ),
    Property(
        name="repeats its first time",
        says="The answer to a repeat has the timestamp of the first one.",
        why="Rules 1 and 5: order.status_updated with a newer stamp reads as an order that was opened again.",
        check=repeats.repeats_its_first_time,
        of=ANSWERING,
    ),
    Property(
        name="keeps an acceptance",
        says="An update that comes again after a runner accepted is answered as before, and changes nothing.",
        why="Rule 8: read as opened again, or set back, an order that a runner carries is cancelled by the clock.",
        check=repeats.keeps_an_acceptance,
        of=(ORDER,),
    ),
    Property(
        name="takes back without the id",
        says="An undo that does not know what it undoes finds it by the saga.",
        why="Rule 2: a silent step may have happened, and its effect's id is what was lost.",
        check=undo.takes_back_without_the_id,
        of=(ORDER, PAYMENT),
    ),
    Property(
        name="confirms an undo again",
        says="An undo of what is undone is confirmed again, under its id and under another.",
        why="Rule 6: undos are repeated far longer than commands. A refusal here ends in FAILED and calls a person.",
        check=undo.confirms_an_undo_again,
        of=UNDOING,
    ),
    Property(
        name="stays undone",
        says="A late repeat of a command brings nothing back that was undone.",
        why="Rule 5: a cancelled order that lives again is delivered and not paid.",
        check=undo.stays_undone,
        of=UNDOING,
    ),
    Property(
        name="tombstones",
        says="An undo that comes before its command is remembered, confirmed, and the late command refused.",
        why="Rule 2: an undo may overtake a command that was slow. Without a tombstone the money is held for nobody.",
        check=undo.remembers_an_early_undo,
        of=UNDOING,
    ),
    Property(
        name="tries a refused undo again",
        says="A refused undo is not remembered: asked again under the same message_id, it is tried again.",
        why="Rule 3: whatever stood in its way may be gone. Remembered, it can never be taken back.",
        check=repeats.tries_a_refused_undo_again,
        of=(ORDER, PAYMENT),
    ),
    Property(
        name="ends alike in any order",
        says="Commands and undos that overtake each other leave one effect at most, and none that stands.",
        why="Rules 2 and 5: at least once on the wire, exactly once in effect.",
        check=undo.ends_alike_in_any_order,
        of=UNDOING,
    ),
    Property(
        name="refuses where a runner was faster",
        says="A cancel of an accepted order is refused with ORDER_ACCEPTED, and the order stands.",
        why="Rule 4: otherwise the runner delivers an order whose money went back.",
        check=undo.refuses_where_a_runner_was_faster,
        of=(ORDER,),
    ),
    Property(
        name="survives malformed records",
        says="A record that is no message harms nothing that comes after it.",
        why="One producer's mistake would stop every order, for as long as the record is kept.",
        check=poison.survives_poison,
        of=ANSWERING,
        when=When.ALONE,
    ),
    Property(
        name="recognises repeats after a restart",
        says="What was answered before a kill is answered the same after it.",
        why="Rule 6: a repeat is likeliest just then.",
        check=repeats.recognises_repeats_after_restart,
        of=ANSWERING,
        when=When.RESTARTING,
    ),
    Property(
        name="answers once committed",
        says="State and answer commit together: killed at any moment, each command has one effect and an answer.",
        why="An effect without an answer is money that nobody knows of; one that is made again is money held twice.",
        check=crash.answers_once_committed,
        of=ANSWERING,
        when=When.RESTARTING,
    ),
    Property(
        name="fires after a restart",
        says="A timer that ran before a kill fires after it.",
        why="Rule 7: a deadline that a restart loses leaves an order open for ever.",
        check=timers.fires_after_a_restart,
        of=(TIMER,),
        when=When.RESTARTING,
    ),
    Property(
        name="keeps notices",
        says="What a customer is told is kept.",
        why="Rule 12: the customer learns what happens to the money from it, and from nothing else.",
        check=notices.keeps_notices,
        of=(NOTIFICATION,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="ignores unknown fields",
        says="Fields that it does not know change nothing.",
        why="Notices carry more than old services know.",
        check=notices.ignores_unknown_fields,
        of=(NOTIFICATION,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="ignores unknown headers",
        says="Headers that it does not know change nothing.",
        why="Each notice has headers for tracing and for CloudEvents.",
        check=notices.ignores_unknown_headers,
        of=(NOTIFICATION,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="keeps customers apart",
        says="Of many who are told at once each has one notice.",
        why="Rule 12: one notification per outcome.",
        check=notices.keeps_customers_apart,
        of=(NOTIFICATION,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="recognises repeats",
        says="A notice that comes again is kept once; another one of the same saga is kept besides.",
        why="Rule 12: a customer who is told twice that the money is back asks where the second payment is.",
        check=notices.keeps_each_notice_once,
        of=(NOTIFICATION,),
        promised_by=Kind.BARE,
    ),
    Property(
        name="survives malformed records",
        says="A record that is no message harms nothing that comes after it.",
        why="One producer's mistake would leave every customer without word.",
        check=notices.survives_poison,
        of=(NOTIFICATION,),
        when=When.ALONE,
    ),
    Property(
        name="keeps notices through a restart",
        says="Killed at any moment, it keeps each notice, once.",
        why="Rule 12: nobody sends it again.",
        check=notices.keeps_notices_through_a_restart,
        of=(NOTIFICATION,),
        when=When.RESTARTING,
    ),
)
