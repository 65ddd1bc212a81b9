"""What types the pages would notice: another output, a failure, a command that never ends, a name that is gone."""

from pathlib import Path

import pytest

from tests.docs.expecting import Ids
from tests.docs.naming import complaint_about, in_sentences
from tests.docs.pages import blocks
from tests.docs.playing import Played, Ports, play
from tests.docs.record import rewritten
from tests.docs.terminal import Terminal
from tests.house_rules import Page

FIRST, SECOND = "01a219d9-524f-7431-ac3b-b349a494dc2c", "01a219d9-65aa-7621-8f05-bb2653c553de"
OTHER, ANOTHER = "01b00000-0000-7000-8000-000000000001", "01b00000-0000-7000-8000-000000000002"


def page(*lines: str) -> Page:
    return Page("docs/rules.md", "\n".join(["# A", "", "```console", *lines, "```", ""]))


def test_a_block_is_cut_into_commands_and_their_outputs() -> None:
    (block,) = blocks(page("$ echo a \\", "    b", "a b", "$ cat <<END", "$ not typed", "END", "$ true"))
    assert [(one.text, one.shown, one.line) for one in block.typed] == [
        ("echo a \\\n    b", "a b", 4),
        ("cat <<END\n$ not typed\nEND", "", 7),
        ("true", "", 10),
    ]


def test_an_output_without_a_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 4: an output, and no command"):
        list(blocks(page("make test")))


def test_the_mark_of_what_is_not_run_belongs_to_the_block_below_it() -> None:
    text = "<!-- not run: it stays -->\n```console\n$ a\n```\n\n```console\n$ b\n```\n"
    assert [block.not_run for block in blocks(Page("docs/rules.md", text))] == ["it stays", None]


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("30 ms  done", "1250 ms done"),
        ("2026-11-26 21:53:41  COMPLETED", "2027-01-01 00:00:00  COMPLETED"),
        ('"at": "2026-11-26T22:06:43.704126Z",', '"at": "2027-01-01T00:00:00Z",'),
        ("until 22:36:45 UTC", "until 01:02:03 UTC"),
        ("on 127.0.0.1:22440", "on 127.0.0.1:21001"),
        ("a\n...\nb", "a\nx\ny\nb"),
        ("...\nb", "b"),
        ("a\n...", "a"),
        ("a ... c", "a b c"),
    ],
)
def test_what_differs_from_run_to_run_fits(shown: str, came: str) -> None:
    assert Ids().fits(shown, came)


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("COMPLETED", "COMPENSATED"),
        ("asked 1 times", "asked 2 times"),
        ("started  4", "started  3"),
        ("a\nb", "a"),
        ("a", "a\nb"),
        ("", "anything"),
        ("a\n...\nb", "a\nb c"),
        ("...\nb", "a b"),
    ],
)
def test_anything_else_does_not_fit(shown: str, came: str) -> None:
    assert not Ids().fits(shown, came)


def test_an_id_is_the_same_one_wherever_the_page_names_it_again() -> None:
    ids = Ids()
    assert ids.fits(f'{{"saga_id":"{FIRST}"}}', f'{{"saga_id":"{OTHER}"}}')
    assert ids.typed(f"ordersaga sagas show {FIRST}") == f"ordersaga sagas show {OTHER}"
    assert ids.shown(f"{OTHER} of {ANOTHER}") == f"{FIRST} of {ANOTHER}"
    assert not ids.fits(f"{FIRST}  COMPLETED", f"{ANOTHER}  COMPLETED")
    assert not Ids().fits(f"{FIRST} {FIRST}", f"{OTHER} {ANOTHER}")
    assert Ids().fits(f"{FIRST} {SECOND}", f"{OTHER} {ANOTHER}")


def played(place: Path, *lines: str) -> list[Played]:
    ports = Ports({"8080": "21999"})
    return list(play(page(*lines), place, {}, ports))


def test_commands_of_a_page_are_one_session(tmp_path: Path) -> None:
    found = played(tmp_path, "$ export WHAT=kept; cd docs", "$ echo $WHAT; ls index.md", "kept", "index.md")
    assert [one.complaint for one in found] == ["", ""]


def test_another_output_and_a_failure_are_complaints_with_both_texts(tmp_path: Path) -> None:
    other, failed = played(tmp_path, "$ echo one", "two", "$ false")
    assert "line 4: $ echo one" in other.complaint
    assert "two" in other.complaint
    assert "one" in other.came
    assert "exit code 1" in failed.complaint


def test_ports_of_a_page_stand_for_free_ones(tmp_path: Path) -> None:
    (one,) = played(tmp_path, "$ port=8080; test $port -gt 9000 && echo at $port", "at 8080")
    assert one.complaint == ""


def test_a_command_that_never_ends_is_given_up_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    with Terminal(tmp_path, {}) as terminal:
        terminal.run("sleep 600 & echo $! > pid")
        with pytest.raises(TimeoutError, match=r"no end within 0\.5 s"):
            terminal.run("echo begun; sleep 600", timeout_seconds=0.5)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_what_came_is_written_into_the_page_where_it_did_not_fit(tmp_path: Path) -> None:
    before = page("$ echo one", "two", "$ echo a; echo b", "$ echo same", "same", "$ echo x", "... y")
    after = page("$ echo one", "one", "$ echo a; echo b", "a", "b", "$ echo same", "same", "$ echo x", "... y")
    assert rewritten(before.text, list(play(before, tmp_path, {}, Ports({})))) == after.text


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("make chaos MINUTES=5", None),
        ("make tea", "there is no target tea"),
        ("ordersaga sagas list --status FAILED", None),
        ("ordersaga sagas list --stauts FAILED", "it has no option --stauts"),
        ("ordersaga sagas lisst", "there is no command sagas lisst"),
        ("ordersaga topics", None),
        ("DATABASE_URL=x ordersaga serve --only api", None),
        ("python -m bench.NAME", None),
        ("python -m bench.no_such_thing", "there is no module bench.no_such_thing"),
        ("curl -s localhost", None),
    ],
)
def test_a_name_that_is_gone_is_noticed(command: str, complaint: str | None) -> None:
    assert complaint_about(command) == complaint


def test_commands_are_found_in_sentences_and_not_in_blocks() -> None:
    text = "Say `make\ntest`, not `tea`.\n\n```text\n`make coffee`\n```\n"
    assert list(in_sentences(Page("docs/rules.md", text))) == ["make test"]
