"""Whatever stands in the environment or in a file of settings: settings, or a line for each thing that is wrong."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.settings import Settings, variable
from ordersaga.settings_reading import SECRETS, SettingsError, listing, read
from tests.fuzz.counting import LITTLE, MUCH, tell, tried

NAMES = [variable(name) for name in Settings.model_fields]
SECRET_NAMES = [variable(name) for name in SECRETS]
CANARY = "canary-7f3a"
NUMBERS = ["0", "-1", "1e400", "nan", "inf", "0x10", "1_000", "٣", "1.5", "99999999999999999999", " 7 ", "+5"]
WORDS = ["true", "off", "none", "full", "bare", "SASL_SSL", "a,b", "http://x", "[", "{}", "null", "\ud800", "\n", "%s"]
VALUES = st.one_of(st.sampled_from([*NUMBERS, *WORDS]), st.text(max_size=40), st.text("0123456789.-e", max_size=12))
GIVEN = st.dictionaries(st.sampled_from(NAMES) | st.from_regex(r"ORDERSAGA_[A-Z_]{0,20}"), VALUES, max_size=6)


@pytest.mark.parametrize("cases", [LITTLE, pytest.param(MUCH, marks=pytest.mark.slow)])
def test_whatever_stands_in_the_environment_is_read_or_said_to_be_wrong(cases: int) -> None:
    seen: Counter[str] = Counter()

    @tried(cases)
    @given(environment=GIVEN, secret=st.none() | st.sampled_from(SECRET_NAMES))
    def ask(environment: dict[str, str], secret: str | None) -> None:
        given_now = {**environment, **({secret: f"{CANARY}\x00"} if secret else {})}
        try:
            settings = read(environment=given_now)
            said = "\n".join(listing(settings))
            seen["read"] += 1
        except SettingsError as error:
            said = "\n".join(error.problems)
            seen["refused"] += 1
        assert said.strip()
        assert CANARY not in said

    ask()
    tell("settings from the environment", seen)
    assert seen["refused"] and seen["read"]


@pytest.mark.parametrize("cases", [LITTLE, pytest.param(MUCH // 3, marks=pytest.mark.slow)])
def test_whatever_stands_in_a_file_of_settings_is_read_or_said_to_be_wrong(cases: int, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    file = tmp_path / "settings.env"
    lines = st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: f"{pair[0]}={pair[1]}")
    texts = st.lists(lines | st.text(max_size=60), max_size=5).map(
        lambda found: "\n".join(found).encode("utf-8", "surrogatepass")
    )

    @tried(cases)
    @given(content=texts | st.binary(max_size=80))
    def ask(content: bytes) -> None:
        file.write_bytes(content)
        try:
            read(environment={}, env_file=file)
            seen["read"] += 1
        except SettingsError:
            seen["refused"] += 1

    ask()
    tell("files of settings", seen)
    assert seen["refused"] and seen["read"]
