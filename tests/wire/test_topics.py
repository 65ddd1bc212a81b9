"""Topics have the platform's names unless a setting says otherwise, and each participant its two."""

from ordersaga.wire.topics import Participant, Topics


def test_the_platforms_names_are_the_defaults() -> None:
    assert set(Topics().all()) == {
        *("order_commands", "user_commands", "payment_commands", "timer_commands"),
        *("order_events", "user_events", "payment_events", "timer_events"),
        *("notification_events", "saga_events", "saga_dead_letters"),
    }
    assert len(Topics().all()) == 11


def test_commands_go_to_the_participant_and_its_events_come_back() -> None:
    topics = Topics(payment_commands="pay", payment_events="paid", notification_events="tell")
    assert topics.commands_of(Participant.PAYMENT) == "pay"
    assert topics.events_of(Participant.PAYMENT) == "paid"
    assert topics.commands_of(Participant.ORDER) == "order_commands"
    assert topics.commands_of(Participant.NOTIFICATION) == "tell"
    assert "paid" in topics.all()


def test_the_orchestrator_reads_the_events_of_those_who_answer() -> None:
    topics = Topics(timer_events="ticks")
    answering = [participant for participant in Participant if participant is not Participant.NOTIFICATION]
    assert topics.answers() == tuple(topics.events_of(participant) for participant in answering)
    assert "ticks" in topics.answers()
