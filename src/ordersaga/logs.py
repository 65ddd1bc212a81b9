"""Log lines: one event each, to stderr, JSON for machines and text for a person at a terminal.

Promise: whatever a stranger's text holds, a line is one line (control characters are escaped), and no secret of the
settings is in it (`redaction` says how that is meant), nor the row that an error of the database quotes. What concerns
a saga has `saga_id`, `step` and `message_id`. The non-promise: personal data cannot be recognised here; whoever logs
names ids, never payloads.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from ordersaga.redaction import Redaction, secrets_of
from ordersaga.settings import Settings

Event = MutableMapping[str, Any]

_QUIET = {"uvicorn": logging.WARNING, "kafka": logging.INFO}
"""Libraries that say too much: uvicorn narrates its start, and kafka writes passwords at DEBUG."""


def configure(settings: Settings, out: TextIO | None = None) -> None:
    """Take over all logging of the process. May be called again."""
    out = out or sys.stderr
    as_text = out.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    redaction = _in_force.redaction = Redaction(secrets_of(settings))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_rows,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _without_secrets(redaction),
            _text if as_text else structlog.processors.JSONRenderer(default=str),
        ],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    logging.captureWarnings(capture=True)


def hush() -> None:
    """For a command that says itself what went wrong: nothing is written. Who listens to a library hears it still."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.CRITICAL + 1)


def redacted(text: str) -> str:
    """What a person is told at a terminal, without the secrets of the settings that were taken over last."""
    return _in_force.redaction.text(text)


class _InForce:
    redaction = Redaction(())


_in_force = _InForce()
_OURS = frozenset({"timestamp", "level", "logger"})
"""Made here, of nothing that was given."""


def _without_secrets(redaction: Redaction) -> structlog.typing.Processor:
    """Before it is written down as JSON or text: a secret may be what either is made of."""

    def without(logger: Any, method: str, event: Event) -> Event:
        return {name: value if name in _OURS else redaction.value(value) for name, value in event.items()}

    return without


_QUOTED = re.compile(r"^(DETAIL|CONTEXT|QUERY|LINE \d+): ")
_NEXT_ERROR = re.compile(r"^(The above exception was the direct cause|During handling of the above exception)")


def _without_rows(logger: Any, method: str, event: Event) -> Event:
    """PostgreSQL's errors quote the row that they are about: its words stay, the row does not."""
    if isinstance(told := event.get("exception"), str) and "\n" in told:
        kept, quoting = [], False
        for line in told.splitlines():
            quoting = (quoting or _QUOTED.match(line) is not None) and not _NEXT_ERROR.match(line)
            if not quoting:
                kept.append(line)
        event["exception"] = "\n".join(kept)
    return event


def _text(logger: Any, method: str, event: Event) -> str:
    """For people: time, level, event, then the rest; a traceback follows on lines of its own."""
    time = str(event.pop("timestamp", ""))[11:23]
    level = str(event.pop("level", "")).upper()
    trace = event.pop("exception", None)
    name = str(event.pop("logger", "")).removeprefix("ordersaga.")
    said = _escaped(str(event.pop("event", "")))
    rest = " ".join(f"{key}={_escaped(str(value))}" for key, value in event.items() if value is not None)
    line = f"{time} {level:7} {said}  {rest}  [{name}]" if rest else f"{time} {level:7} {said}  [{name}]"
    return "\n".join([line, *(f"    {_escaped(one)}" for one in str(trace).splitlines())]) if trace else line


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
