"""Settings come from the environment; what is wrong with them is said all at once, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ordersaga.as_set import sagas_of
from ordersaga.bootstrap_http import who_may_ask
from ordersaga.bootstrap_participants import they_listen
from ordersaga.connecting import KEPT_FOR_WORK, must_leave_some_to_look
from ordersaga.orchestrator.core.definition import BACKWARD
from ordersaga.settings import Settings, variable
from ordersaga.settings_http import token_lines
from ordersaga.settings_reading import SECRETS, SettingsError, allowed, in_force, listing, read
from ordersaga.tokens import Role, new_token
from ordersaga.wire.topics import Participant

CANARY = "canary-7f3a"
ADDRESS = f"postgresql://saga:{CANARY}@db/saga"
ADDRESSES = ("DATABASE_URL", "ORDERSAGA_RECONCILE_DATABASE_URL")


def given(environment: Mapping[str, str], **more: Any) -> Settings:
    return read(environment=environment, **more)


def problems_of(environment: Mapping[str, str], **more: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(environment=environment, **more)
    return caught.value.problems


def test_every_setting_has_a_default_except_where_it_is_connected_to() -> None:
    settings = given({})
    assert settings.http_host == "127.0.0.1"
    assert settings.acceptance_window_seconds == 1800
    assert settings.participant_payment == "bare"
    assert settings.database_url is None
    assert settings.kafka_bootstrap_servers is None


def test_the_platform_names_have_no_prefix_and_all_others_have() -> None:
    environment = {"DATABASE_URL": "postgresql://saga@db/saga", "ORDERSAGA_HTTP_PORT": "27001"}
    settings = given(environment)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://saga@db/saga"
    assert settings.http_port == 27001


def test_an_unknown_name_is_an_error_that_suggests_the_near_one() -> None:
    (problem,) = problems_of({"ORDERSAGA_STRAT_TIMER": "off"})
    assert problem == "ORDERSAGA_STRAT_TIMER (from the environment) is no setting; did you mean ORDERSAGA_START_TIMER?"


def test_an_unknown_name_that_is_near_to_none_points_to_the_list() -> None:
    (problem,) = problems_of({"ORDERSAGA_XYZZY": "1"})
    assert "did you mean" not in problem
    assert "ordersaga settings" in problem


def test_a_name_in_small_letters_is_not_taken_silently_for_nothing() -> None:
    (problem,) = problems_of({"ordersaga_http_port": "1"})
    assert "did you mean ORDERSAGA_HTTP_PORT?" in problem


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("ORDERSAGA_HTTP_PORT", "eighty", "a whole number from 0 up to 65535"),
        ("ORDERSAGA_HTTP_PORT", "70000", "a whole number from 0 up to 65535"),
        ("ORDERSAGA_STEP_TIMEOUT_SECONDS", "nan", "a number above 0 up to 86400"),
        ("ORDERSAGA_STEP_TIMEOUT_SECONDS", "inf", "a number above 0 up to 86400"),
        ("ORDERSAGA_STEP_TIMEOUT_SECONDS", "-1", "a number above 0 up to 86400"),
        ("ORDERSAGA_START_TIMER", "perhaps", "on or off"),
        ("ORDERSAGA_PARTICIPANT_USER", "half", "bare or full"),
        ("ORDERSAGA_KAFKA_COMPRESSION", "lz4", "none or gzip"),
        ("ORDERSAGA_KAFKA_TLS_CA_PATH", "/nowhere/ca.pem", "the path of a file that exists"),
        ("ORDERSAGA_TOPIC_ORDER_EVENTS", "order events", "text that matches"),
        ("ORDERSAGA_HTTP_CORS_ORIGINS", "shop.example", "is not an origin"),
        ("ORDERSAGA_SMOKE_API_URL", "shop.example", "text that matches"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(name: str, value: str, must_be: str) -> None:
    (problem,) = problems_of({name: value})
    assert problem.startswith(f"{name}={value!r} (from the environment): ")
    assert must_be in problem


@pytest.mark.parametrize("name", ["ORDERSAGA_SMOKE_API_URL", "ORDERSAGA_SMOKE_PAYMENT_URL"])
def test_an_address_that_is_shown_has_no_password(name: str) -> None:
    (problem,) = problems_of({name: f"https://probe:{CANARY}@shop.example/api"})
    assert "ORDERSAGA_SMOKE_TOKEN" in problem and "//***@shop.example" in problem
    assert CANARY not in problem


def test_everything_that_is_wrong_is_said_at_once() -> None:
    environment = {"ORDERSAGA_HTP_PORT": "1", "ORDERSAGA_HTTP_PORT": "x", "ORDERSAGA_START_TIMER": "x"}
    problems = problems_of(environment, needs=("database_url",))
    assert [problem.split("=")[0].split(" ")[0] for problem in problems] == [
        "ORDERSAGA_HTP_PORT",
        "DATABASE_URL",
        "ORDERSAGA_HTTP_PORT",
        "ORDERSAGA_START_TIMER",
    ]


@pytest.mark.parametrize("field", sorted(SECRETS))
def test_a_secret_can_be_read_from_a_file(tmp_path: Path, field: str) -> None:
    file = tmp_path / "secret"
    odd = {"auth_tokens": f"{CANARY}:admin:{'c' * 64}", "database_url": ADDRESS, "reconcile_database_url": ADDRESS}
    secret = odd.get(field, CANARY)
    file.write_text(f"{secret}\n")
    settings = given({f"{variable(field)}_FILE": str(file)}, needs=(field,))
    assert getattr(settings, field).get_secret_value() == secret
    assert CANARY not in repr(settings)
    assert CANARY not in "\n".join(listing(settings))


def test_a_secret_given_twice_or_in_a_file_that_cannot_be_read_is_an_error_without_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(CANARY)
    (twice,) = problems_of({"DATABASE_URL": ADDRESS, "DATABASE_URL_FILE": str(file)})
    assert "both set" in twice
    (unread,) = problems_of({"DATABASE_URL_FILE": str(tmp_path / "none")}, needs=("database_url",))
    assert "cannot be read" in unread
    file.write_text("\n")
    (empty,) = problems_of({"DATABASE_URL_FILE": str(file)}, needs=("database_url",))
    assert "empty" in empty
    assert CANARY not in twice + unread + empty


def test_a_file_of_settings_is_read_when_asked_and_the_environment_goes_before(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("# ours\nORDERSAGA_HTTP_PORT=27001\nORDERSAGA_HTTP_HOST='0.0.0.0'\nPATH_OF_SOMEBODY_ELSE=1\n")
    settings = given({"ORDERSAGA_HTTP_PORT": "27002"}, env_file=file)
    assert (settings.http_port, settings.http_host) == (27002, "0.0.0.0")


def test_an_unknown_name_in_a_file_says_which_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("ORDERSAGA_HTTP_PROT=27001\n")
    (problem,) = problems_of({}, env_file=file)
    assert str(file) in problem
    assert "did you mean ORDERSAGA_HTTP_PORT?" in problem


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (problem,) = problems_of({}, env_file=tmp_path / "none.env")
    assert problem.startswith("there is no file")


def test_an_empty_value_is_the_same_as_none() -> None:
    assert given({"ORDERSAGA_HTTP_PORT": ""}).http_port == 8080
    assert problems_of({"DATABASE_URL": ""}, needs=("database_url",))[0].startswith("DATABASE_URL is not set")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "ORDERSAGA_KAFKA_SASL_USERNAME"),
        ({"ORDERSAGA_TOPIC_ORDER_EVENTS": "order_commands"}, "a name of its own"),
    ],
)
def test_settings_that_do_not_fit_together_are_an_error(environment: dict[str, str], said: str) -> None:
    (problem,) = problems_of(environment)
    assert said in problem


def test_a_client_certificate_needs_its_key(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("-")
    (problem,) = problems_of({"ORDERSAGA_KAFKA_TLS_CERTIFICATE_PATH": str(file)})
    assert "belong together" in problem


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address", [f"postgresql+psycopg://saga:{CANARY}@db/saga", f"postgresql://saga:{CANARY}%@db/saga", CANARY]
)
def test_an_address_that_cannot_be_read_is_an_error_that_does_not_quote_it(name: str, address: str) -> None:
    (problem,) = problems_of({name: address})
    assert problem.startswith(f"{name} (from the environment): ") and CANARY not in problem


def test_settings_say_which_participants_may_be_of_either_kind_without_a_difference() -> None:
    """By what the sagas ask of each: what must be done once, or can be taken back, depends on who does it."""
    settings: Any = {f"participant_{one.value}": "full" for one in Participant}
    steps = [step for saga in sagas_of(Settings(**settings)) for step in saga.steps]
    matters = {step.do.to for step in steps if step.undo or step.nameless or not step.harmless_to_repeat}
    matters |= {step.undo.ask.to for step in steps if step.undo}
    told = {one for one in Participant if "It changes nothing" in description(f"participant_{one.value}")}
    assert told == set(Participant) - matters and told


def test_how_long_an_undo_is_asked_for_is_what_its_settings_say() -> None:
    settings = Settings()
    waits = [
        min(settings.undo_backoff_seconds_max, BACKWARD.backoff_seconds * 2**n)
        for n in range(settings.undo_attempts_max - 1)
    ]
    answers = settings.undo_attempts_max * settings.undo_timeout_seconds
    least, most = [round((answers + share * sum(waits)) / 60) for share in (0.75, 1)]
    assert f"{least} to {most} minutes" in description("undo_attempts_max")


def description(field: str) -> str:
    return Settings.model_fields[field].description or ""


def test_origins_are_separated_by_commas() -> None:
    origins = given({"ORDERSAGA_HTTP_CORS_ORIGINS": "https://shop.example, http://localhost:3000"}).http_cors_origins
    assert origins == ("https://shop.example", "http://localhost:3000")


def test_settings_built_in_code_do_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_HTTP_PORT", "27001")
    monkeypatch.setenv("HTTP_PORT", "27001")
    assert Settings().http_port == 8080


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_says_what_it_does_and_what_it_may_be(name: str) -> None:
    info = Settings.model_fields[name]
    assert info.description
    assert info.description.endswith(".")
    assert allowed(name)
    if info.annotation in (int, float):
        assert " from " in allowed(name) or " above " in allowed(name), "a number has bounds"


def test_tokens_that_are_none_are_refused_without_being_quoted() -> None:
    (problem,) = problems_of({"ORDERSAGA_AUTH_TOKENS": f"ops:admin:{CANARY}"})
    assert "ORDERSAGA_AUTH_TOKENS" in problem
    assert "token 1" in problem
    assert CANARY not in problem


def test_tokens_and_nobody_asked_contradict_each_other() -> None:
    line = new_token("ops", Role.ADMIN)[1]
    (problem,) = problems_of({"ORDERSAGA_AUTH_TOKENS": line, "ORDERSAGA_AUTH": "none"})
    assert "contradict" in problem


@pytest.mark.parametrize("between", [",", "\n", " , ", "\n\n"])
def test_tokens_may_be_separated_by_commas_or_lines(between: str) -> None:
    lines = [new_token(name, Role.VIEWER)[1] for name in ("a", "b")]
    assert token_lines(given({"ORDERSAGA_AUTH_TOKENS": between.join(lines)}).auth_tokens) == lines


@pytest.mark.parametrize(
    ("host", "auth", "is_fine"),
    [
        ("127.0.0.1", "auto", True),
        ("localhost", "auto", True),
        ("::1", "auto", True),
        ("0.0.0.0", "auto", False),
        ("orders.example", "auto", False),
        ("0.0.0.0", "none", True),
    ],
)
def test_without_tokens_only_this_machine_is_listened_to(host: str, auth: str, is_fine: bool) -> None:
    settings = given({"ORDERSAGA_HTTP_HOST": host, "ORDERSAGA_AUTH": auth})
    if is_fine:
        assert who_may_ask(settings) is None
    else:
        with pytest.raises(SettingsError, match="ORDERSAGA_AUTH_TOKENS"):
            who_may_ask(settings)


def test_with_tokens_anything_is_listened_to() -> None:
    line = new_token("ops", Role.ADMIN)[1]
    assert who_may_ask(given({"ORDERSAGA_HTTP_HOST": "0.0.0.0", "ORDERSAGA_AUTH_TOKENS": line}))


@pytest.mark.parametrize(
    "cure", ["ORDERSAGA_HTTP_HOST=127.0.0.1", "ORDERSAGA_PARTICIPANTS_HTTP_PORT=0", "ORDERSAGA_AUTH=none"]
)
def test_participants_that_strangers_could_reach_name_cures_that_work(cure: str) -> None:
    anywhere = {"ORDERSAGA_HTTP_HOST": "0.0.0.0"}
    with pytest.raises(SettingsError) as told:
        they_listen(given(anywhere))
    (problem,) = told.value.problems
    assert cure in problem
    name, _, value = cure.partition("=")
    assert they_listen(given(anywhere | {name: value})) is (value != "0")


def test_tokens_are_no_cure_for_participants() -> None:
    line = new_token("ops", Role.ADMIN)[1]
    with pytest.raises(SettingsError, match="participants know no tokens"):
        they_listen(given({"ORDERSAGA_HTTP_HOST": "0.0.0.0", "ORDERSAGA_AUTH_TOKENS": line}))


def test_what_is_in_force_says_where_it_is_from_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"ORDERSAGA_HTTP_PORT=1\nORDERSAGA_RETURN_URL=https://shop.example\nDATABASE_URL={ADDRESS}\n")
    found = list(in_force(environment={"ORDERSAGA_HTTP_PORT": "2"}, env_file=file))
    assert ("ORDERSAGA_HTTP_PORT", "2", "the environment") in found
    assert ("ORDERSAGA_RETURN_URL", "https://shop.example", str(file)) in found
    assert ("DATABASE_URL", "(secret)", str(file)) in found
    assert ("ORDERSAGA_AUTH", "auto", "default") in found
    assert len(found) == len(Settings.model_fields)
    assert CANARY not in repr(found)


def test_an_api_has_connections_for_those_who_look() -> None:
    name = "ORDERSAGA_DATABASE_CONNECTIONS_MAX"
    must_leave_some_to_look(given({name: str(KEPT_FOR_WORK + 1)}))
    with pytest.raises(
        SettingsError, match=f"{name}={KEPT_FOR_WORK} .*ORDERSAGA_HTTP_REQUESTS_AT_ONCE_MAX=32 .*7 or more"
    ):
        must_leave_some_to_look(given({name: str(KEPT_FOR_WORK)}))
