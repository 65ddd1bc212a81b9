"""How the API is listened to, and who may ask. See `settings`."""

from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from ordersaga.settings_connections import ConnectionSettings, Seconds
from ordersaga.tokens import Tokens


def token_lines(value: SecretStr | None) -> list[str]:
    """What `auth_tokens` lists."""
    return [] if value is None else [line for line in value.get_secret_value().replace(",", "\n").split() if line]


class HttpSettings(ConnectionSettings):
    """The second part of `Settings`."""

    # --- HTTP ---------------------------------------------------------------------------------------------------

    http_host: str = Field(
        "127.0.0.1",
        min_length=1,
        max_length=255,
        description="Address to listen on. Only this machine: whoever wants more says so (0.0.0.0 in a container).",
    )
    http_port: int = Field(
        8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one. The port that the front ends know."
    )
    auth: Literal["auto", "none"] = Field(
        "auto",
        description=(
            "Whether callers must say who they are. Auto: where there are tokens everybody needs one; where there are"
            " none only this machine is listened to. None: nobody is asked, for front ends that have no token, behind"
            " a network that keeps strangers out."
        ),
    )
    auth_tokens: SecretStr | None = Field(
        None,
        description=(
            "Who may ask for what, separated by commas or lines, each name:role:digest as `ordersaga token` makes"
            " them. None, since a token that everybody knows is none."
        ),
    )
    orders_per_customer_per_minute_max: int = Field(
        60,
        ge=0,
        le=1_000_000,
        description=(
            "How many orders of one customer a process takes in a minute; 0: any number. Sixty: no person orders more,"
            " and a front end that has lost its mind harms nobody else."
        ),
    )
    participants_http_port: int = Field(
        8090,
        ge=0,
        le=65_530,
        description=(
            "Port of the reference participants, for people to act at; 0 serves none. One that runs alone has a port of"
            " its own: order this plus 1, user plus 2, payment plus 3, timer plus 4, notification plus 5."
        ),
    )
    http_cors_origins: tuple[str, ...] = Field(
        (),
        description=(
            "Origins of the front ends, separated by commas, such as https://shop.example. None: browsers of"
            " other origins stay out."
        ),
    )
    http_body_bytes_max: int = Field(
        65_536,
        ge=1024,
        le=900_000,
        description=(
            "The largest request. A large order is 10 kB; the record that carries it to the order service may be 1 MB."
        ),
    )
    http_connections_max: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Connections at once; above it 503, so that those inside are served. Each costs about 20 kB.",
    )
    http_requests_at_once_max: int = Field(
        32,
        ge=1,
        le=500,
        description="Requests at work at once, each on a thread; more wait. Orders need none while they wait for their"
        " transaction; who looks at many rows waits for one of the connections that are for that, too.",
    )
    http_read_timeout_seconds: Seconds = Field(
        10,
        description=(
            "How long a client may take to send a request, headers and body. Orders are small, even on a telephone."
        ),
    )
    http_idle_timeout_seconds: Seconds = Field(
        65,
        description=(
            "How long an idle connection is kept. A little longer than the usual load balancer keeps it, which"
            " must be the first to close."
        ),
    )

    @field_validator("http_cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("http_cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise ValueError(
                    f"{origin!r} is not an origin: scheme and host without a path, such as https://shop.example"
                )
        return origins

    @field_validator("auth_tokens")
    @classmethod
    def _are_tokens(cls, value: SecretStr | None) -> SecretStr | None:
        Tokens(token_lines(value))
        return value
