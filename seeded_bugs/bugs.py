"""The bugs that are planted: each is one small change that somebody could make by mistake, and that would lose money.

`before` stands exactly once in the file. What has changed so much that it does not any more is a bug that nobody looks
for: the checker refuses to run then.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bug:
    name: str
    path: str
    before: str
    after: str
    likely: str = "stories"
    """The checker that is asked first."""


ORCHESTRATOR = "src/ordersaga/orchestrator"
CORE = f"{ORCHESTRATOR}/core"
SAGAS = f"{ORCHESTRATOR}/sagas"
DELIVERY = "src/ordersaga/delivery"
PARTICIPANTS = "src/ordersaga/participants"

ENGINE = (
    Bug(
        name="the money goes back before the order is cancelled",
        path=f"{SAGAS}/create_order.py",
        before="undo_order=(CANCEL_ORDER, REVERT_PAYMENT, CANCEL_TIMER)",
        after="undo_order=(REVERT_PAYMENT, CANCEL_ORDER, CANCEL_TIMER)",
    ),
    Bug(
        name="a step in doubt is not undone",
        path=f"{CORE}/needs.py",
        before="if step.became in (Became.DONE, Became.IN_DOUBT)]",
        after="if step.became in (Became.DONE,)]",
    ),
    Bug(
        name="why an undo was sent is forgotten when it wins after all",
        path=f"{CORE}/advance.py",
        before="called_off = record.reason or record.called_off",
        after="called_off = None",
    ),
    Bug(
        name="silence is taken for a refusal",
        path=f"{CORE}/observe.py",
        before="doubtful = replace(known, became=Became.IN_DOUBT, reason=step.silence)",
        after="doubtful = replace(known, became=Became.REFUSED, reason=step.silence)",
    ),
    Bug(
        name="a cancel by hand is taken for a confirmation",
        path=f"{CORE}/undo_answers.py",
        before="if not undo_sent(definition, record, undo) or _not_an_answer(definition, record, undo, seen):",
        after="if not undo.unasked_is_request and not undo_sent(definition, record, undo):",
    ),
    Bug(
        name="the last arrival wins over the newest stamp",
        path=f"{CORE}/recording.py",
        before="return stamp is not None and than is not None and stamp < than",
        after="return False",
    ),
    Bug(
        name="a reversal that overtakes its acceptance is forgotten",
        path=f"{CORE}/observe.py",
        before="    if record.accepted is None and noted is record:",
        after="    if record.accepted is None:",
    ),
    Bug(
        name="an order that came back to life is cancelled under its runner",
        path=f"{CORE}/advance.py",
        before="undo.unasked_is_request and undo not in standing for undo in undone)",
        after="undo.unasked_is_request for undo in undone)",
    ),
    Bug(
        name="who stops the timer cancels the order",
        path=f"{CORE}/repeats.py",
        before="    if not undo.required:\n",
        after="    if False:\n",
    ),
    Bug(
        name="a failure of what a person has seen to is not told",
        path=f"{CORE}/decide.py",
        before="if record.status is Status.FAILED and before.status is not Status.FAILED:",
        after="if False:",
    ),
    Bug(
        name="a late success is dropped",
        path=f"{CORE}/answers.py",
        before="    known = record.steps[step.name]\n    data = definition.remember",
        after="    known = record.steps[step.name]\n    if known.became is not None:\n"
        '        return Observation(record, Verdict.LATE, "given up")\n    data = definition.remember',
    ),
    Bug(
        name="a shared undo is sent once for each step",
        path=f"{CORE}/undo_answers.py",
        before="known.became not in (Became.DONE, Became.IN_DOUBT):\n            continue\n        if step.opens",
        after="known.became is not Became.DONE or record is not before:\n            continue\n        if step.opens",
    ),
    Bug(
        name="a cancel wins over an acceptance",
        path=f"{CORE}/advance.py",
        before="return c.record.accepted is not None and bool(ruled_by) and not cancelling",
        after="return False",
    ),
    Bug(
        name="an accepted order stands though its money went back",
        path=f"{CORE}/sending.py",
        before="point_passed=c.record.point_passed or (first.undo.rules_out_completion and not first.extra),",
        after="point_passed=False,",
    ),
    Bug(
        name="the money goes back on `Already in final state`",
        path=f"{SAGAS}/create_order_answers.py",
        before='return reason.startswith(FINAL_STATE) and not reason.removeprefix(FINAL_STATE).startswith("CANCELLED")',
        after="return False",
    ),
    Bug(
        name="an authorization is repeated to a bare participant",
        path=f"{SAGAS}/create_order.py",
        before="harmless_to_repeat=False,\n            refusal=payment_failed",
        after="harmless_to_repeat=True,\n            refusal=payment_failed",
    ),
    Bug(
        name="an operator's retry repeats a bare forward command",
        path=f"{CORE}/operators.py",
        before="if out.direction is Direction.DO and definition.attempts_max(step, record.steps[step.name]) == 1:",
        after="if False:",
    ),
    Bug(
        name="what was done twice is taken back once",
        path=f"{CORE}/needs.py",
        before="if not effect.undone and not effect.settled and effect_id and effect_id != own:",
        after="if False:",
    ),
    Bug(
        name="a confirmation for a repeat's order is taken for the order's own",
        path=f"{CORE}/undo_answers.py",
        before="if named is not None and named in _extras(definition, record, undo):",
        after="if False:",
    ),
    Bug(
        name="a void that overtakes its authorization is forgotten",
        path=f"{CORE}/answers.py",
        before="if step.undo and _over_before(known, step.undo, ids, seen.stamp):",
        after="if False:",
    ),
    Bug(
        name="an undo without an id is sent to a bare participant",
        path=f"{CORE}/advance.py",
        before="return first.asked_bare or c.definition.kind_of(first.undo.ask) is Kind.BARE",
        after="return False",
    ),
    Bug(
        name="what cannot be named is settled without a word",
        path=f"{CORE}/advance.py",
        before="return Outcome(with_attention(settle(c.definition, c.record, first.undo), why))",
        after="return Outcome(settle(c.definition, c.record, first.undo))",
    ),
    Bug(
        name="an accepted order expires",
        path=f"{CORE}/advance.py",
        before="return c.record.expired and c.record.accepted is None",
        after="return c.record.expired",
    ),
    Bug(
        name="past the point of no return silence is doubt",
        path=f"{CORE}/observe.py",
        before=" or definition.is_asked_until_answered(step):",
        after=":",
    ),
    Bug(
        name="past the point of no return a refusal is the end",
        path=f"{CORE}/answers.py",
        before="until_done = definition.is_asked_until_done(step)",
        after="until_done = False",
    ),
    Bug(
        name="a cancel is granted while the capture is in doubt",
        path=f"{CORE}/recording.py",
        before='    if record.committed:\n        return Unmoved(Verdict.REFUSED, "cannot be',
        after='    if False:\n        return Unmoved(Verdict.REFUSED, "cannot be',
    ),
    Bug(
        name="nobody is told of a payout that is refused again and again",
        path=f"{CORE}/recording.py",
        before="        record = with_attention(record, overdue(step))\n    return back_off",
        after="        pass\n    return back_off",
    ),
    Bug(
        name="the saga keeps no window of its own",
        path=f"{CORE}/instance.py",
        before="return self.window_ends_at if waiting else None",
        after="return None",
    ),
    Bug(
        name="the window is closed early",
        path=f"{CORE}/observe.py",
        before="if record.window_due_at is None or now < record.window_due_at:",
        after="if record.window_due_at is None:",
    ),
    Bug(
        name="a runner who gives the order back is not heard",
        path=f"{CORE}/observe.py",
        before="    shown = open_again(definition, record, seen.stamp, now) if is_open else noted",
        after="    shown = record if is_open else noted",
    ),
    Bug(
        name="the first cause is overwritten",
        path=f"{CORE}/sending.py",
        before="    if record.reason is not None:\n        return record",
        after="",
    ),
    Bug(
        name="a customer is told the same twice",
        path=f"{CORE}/sending.py",
        before="    if name in record.notified:\n        return Outcome(record)",
        after="",
    ),
    Bug(
        name="an undo that cannot be confirmed is settled",
        path=f"{CORE}/recording.py",
        before="    if undo.required:",
        after="    if not undo.required:",
    ),
    Bug(
        name="a step that was never asked for is in doubt",
        path=f"{CORE}/advance.py",
        before="became = Became.SKIPPED if step.optional else Became.REFUSED",
        after="became = Became.SKIPPED if step.optional else Became.IN_DOUBT",
    ),
    Bug(
        name="an undo by hand is believed while a repeat is under way",
        path=f"{CORE}/repeats.py",
        before="shown = record if repeated else undone",
        after="shown = undone",
    ),
    Bug(
        name="nobody is told of a repeat that may be carried out after the end",
        path=f"{CORE}/repeats.py",
        before="        record = with_attention(record, why)\n    return record",
        after="    return record",
    ),
)
RUNTIME = (
    Bug(
        name="news about an order that nobody knows yet is dropped",
        path=f"{ORCHESTRATOR}/runtime/turn.py",
        before="if self.sagas.may_come_unasked(body) and (event := early(letter)) is not None:",
        after="if False and (event := early(letter)) is not None:",
        likely="delivery",
    ),
    Bug(
        name="two workers change one saga at the same time",
        path=f"{ORCHESTRATOR}/store/sql/write.sql",
        before="k (id, by, n) JOIN sagas s ON s.id = k.id\nORDER BY s.id FOR UPDATE OF s;",
        after="k (id, by, n) JOIN sagas s ON s.id = k.id\nORDER BY s.id;",
        likely="delivery",
    ),
    Bug(
        name="what another process wrote since is not read",
        path=f"{ORCHESTRATOR}/store/sql/write.sql",
        before="""CASE WHEN s.xmin <> k.by OR pg_postmaster_start_time() <> :server THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s;""",
        after="""CASE WHEN k.by = '0'::xid OR :server > clock_timestamp() THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s;""",
        likely="store",
    ),
    Bug(
        name="a row of a standby passes for that of the server before by its number",
        path=f"{ORCHESTRATOR}/store/sql/write.sql",
        before="""OR pg_postmaster_start_time() <> :server THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s;""",
        after="""OR :server > clock_timestamp() THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s;""",
        likely="store",
    ),
    Bug(
        name="what is kept for an id is not asked for when it is learnt",
        path=f"{ORCHESTRATOR}/store/postgres.py",
        before="if batch.learnt and kept.fetchone() is not None:",
        after="if batch.learnt and kept.fetchone() is None and not batch.changes:",
        likely="store",
    ),
    Bug(
        name="a deadline that comes earlier than it was to is not written",
        path=f"{ORCHESTRATOR}/store/rows.py",
        before="(due is None or was is None or due < was)",
        after="(due is None or was is None)",
        likely="store",
    ),
    Bug(
        name="a deadline that was found too early is not put to its time",
        path=f"{ORCHESTRATOR}/runtime/turn.py",
        before="self.rearmed.append(Due(due.saga_id, due.kind, due_at))",
        after="pass",
        likely="delivery",
    ),
    Bug(
        name="late news of an archived saga are an orphan",
        path=f"{ORCHESTRATOR}/store/postgres.py",
        before="if skip_locked or not loaded.missing:",
        after="if True:",
        likely="delivery",
    ),
    Bug(
        name="news of an order or a payment pass over the saga that is in the archive",
        path=f"{ORCHESTRATOR}/store/rows.py",
        before="for saga_id in {*wanted.saga_ids, *found} if",
        after="for saga_id in set(wanted.saga_ids) if",
        likely="store",
    ),
    Bug(
        name="a saga that is on its way into the archive is in neither place",
        path=f"{ORCHESTRATOR}/store/archive.py",
        before='            connection.execute(SQL["keep_for_me"])\n',
        after="",
        likely="store",
    ),
    Bug(
        name="offsets are committed before the batch is handled",
        path=f"{DELIVERY}/consume.py",
        before="            failpoints.hit(AFTER_POLL)\n            self._settle(records)",
        after="            self._consumer.commit({(r.topic, r.partition): r.offset + 1 for r in records})\n"
        "            failpoints.hit(AFTER_POLL)\n            self._settle(records)",
        likely="delivery",
    ),
    Bug(
        name="after an outage a poll that came back empty counts as silence",
        path=f"{DELIVERY}/keeping_up.py",
        before="lag = self._consumer.lag(max(self._lost_at, min(looked_at, now - TOLD_WITHIN_SECONDS)))",
        after="lag = self._consumer.lag()",
        likely="delivery",
    ),
    Bug(
        name="what comes with another's partitions counts as silence until it is looked at",
        path=f"{DELIVERY}/keeping_up.py",
        before="if not ours <= self._ours:",
        after="if not ours:",
        likely="delivery",
    ),
    Bug(
        name="who alone has lost the database keeps its partitions",
        path=f"{DELIVERY}/absence.py",
        before="return self._reachable is not None and",
        after="return self._loop.stopping and",
        likely="delivery",
    ),
    Bug(
        name="the relay takes no answer for an acknowledgement",
        path=f"{DELIVERY}/relay.py",
        before="if all(outcome.published is Published.ACKNOWLEDGED for outcome in outcomes):",
        after="if outcomes:",
        likely="delivery",
    ),
    Bug(
        name="rows of a dead process are left where they are",
        path=f"{DELIVERY}/upkeep.py",
        before="taken = self._outbox.take_over(limit, without=crowded)",
        after="taken: Sequence[OutboxRow] = []",
        likely="delivery",
    ),
    Bug(
        name="rows of a dead process are published without a look at the log",
        path=f"{DELIVERY}/upkeep.py",
        before="        if self._look_up is None:\n            self._hand_out(rows)",
        after="        if self._look_up is not None:\n            self._hand_out(rows)",
        likely="delivery",
    ),
    Bug(
        name="a lane goes on before its first row is acknowledged",
        path=f"{DELIVERY}/lanes.py",
        before="        else:\n            insort(queue, row, lo=1, key=lambda queued: queued.row_id)",
        after="        else:\n            insort(queue, row, lo=1, key=lambda queued: -queued.row_id)",
        likely="delivery",
    ),
)
SERVICES = (
    Bug(
        name="a delivery that was called off is marked when its command comes at last",
        path=f"{PARTICIPANTS}/order/completing.py",
        before="if asked.key in row.called_off:\n        problem",
        after="if False:\n        problem",
        likely="services",
    ),
    Bug(
        name="two sagas deliver one order",
        path=f"{PARTICIPANTS}/order/completing.py",
        before="elif row.status not in WITH_A_RUNNER:",
        after='elif row.status not in (*WITH_A_RUNNER, "DELIVERED"):',
        likely="services",
    ),
    Bug(
        name="a cancel that came before its order is not remembered",
        path=f"{PARTICIPANTS}/order/service.py",
        before="return Reply(row=row, event=m.OrderCancelled(order_id=command.order_id, reason=command.reason))",
        after="return Reply(event=m.OrderCancelled(order_id=command.order_id, reason=command.reason))",
        likely="services",
    ),
    Bug(
        name="a revert that came before its authorization is not remembered",
        path=f"{PARTICIPANTS}/payment/service.py",
        before='return Reply(row=row, event=_released(row, "nothing was held"))',
        after='return Reply(event=_released(row, "nothing was held"))',
        likely="services",
    ),
    Bug(
        name="a refused undo is answered from memory",
        path=f"{PARTICIPANTS}/order/service.py",
        before='error="ORDER_ACCEPTED", order_id=row.order_id, status=row.status)\n'
        "    return Reply(event=refused, remembered=False)",
        after='error="ORDER_ACCEPTED", order_id=row.order_id, status=row.status)\n    return Reply(event=refused)',
        likely="services",
    ),
    Bug(
        name="an accepted order can be cancelled",
        path=f"{PARTICIPANTS}/order/service.py",
        before='CANCELLABLE = ("PENDING", "CREATED")',
        after='CANCELLABLE = ("PENDING", "CREATED", "ACCEPTED")',
        likely="services",
    ),
    Bug(
        name="a late update opens a cancelled order",
        path=f"{PARTICIPANTS}/order/service.py",
        before='if (row.status, command.status) != ("PENDING", "CREATED"):',
        after='if row.status not in ("PENDING", "CANCELLED"):',
        likely="services",
    ),
    Bug(
        name="the provider is asked with a new key each time",
        path=f"{PARTICIPANTS}/payment/service.py",
        before="return Hold(idempotency_key=key, amount_cents",
        after="return Hold(idempotency_key=asked.new_id, amount_cents",
        likely="services",
    ),
    Bug(
        name="a repeated command is carried out again",
        path=f"{PARTICIPANTS}/turn.py",
        before="return self._before.get(letter.message_id) or self.answers.get(letter.message_id)",
        after="return None",
        likely="hosts",
    ),
)
BUGS = (*ENGINE, *RUNTIME, *SERVICES)
