"""Behind a pooler that hands each transaction to another connection, everything works as without one."""

from ordersaga.connecting import Database
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.search import Search
from ordersaga.settings import Settings
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.runtime.stage import DEFINITION, Stage, settle
from tests.store.pooler import pooled

ANSWERS = (
    m.OrderCreated(order_id="o-1"),
    m.PaymentInfoRetrieved(payment_info=m.PaymentInfo(stripe_customer_id="cus_c4n4ry", payment_method_id="pm_c4n4ry")),
    m.PaymentAuthorized(payment_id="p-1", order_id="o-1", payment_intent_id="pi_1", status="AUTHORIZED"),
    m.OrderStatusUpdated(order_id="o-1", status="CREATED"),
    m.TimerStarted(order_id="o-1"),
)


def test_a_saga_its_messages_and_the_board_need_nothing_that_a_connection_keeps(database_url: str) -> None:
    schema = "behind_a_pooler"
    migrate(database_url, schema)
    with pooled(database_url) as (url, pooler):
        settings = Settings.model_validate(
            {"database_url": url, "database_schema": schema, "database_pooler": "transaction"}
        )
        database = Database(settings, "test", connections_max=3)
        store = database.store(Sagas([DEFINITION]))
        stage = Stage(store, database.pool)
        database.outbox.register()
        begun = [stage.begin() for _ in range(3)]
        for saga_id in begun:
            settle(stage, saga_id, ANSWERS)
            assert stage.get(saga_id).status is Status.COMPLETED
        assert store.page(Search(statuses=frozenset([Status.COMPLETED]))).instances and store.counts().outbox_rows > 0
        assert len(store.history(begun[0])) == 6
        store.upkeep()
        board = database.board()
        board.tell({Participant.PAYMENT: 2}, ())
        assert board.read(10).silences[Participant.PAYMENT].commands == 2
        assert database.outbox.pending().rows == len(stage.sent)
        database.outbox.acknowledged([row.row_id for row in stage.sent])
        assert database.outbox.pending().rows == 0
        store.close()
    assert {0, 1} <= set(pooler.taken), "transactions went over both connections"
