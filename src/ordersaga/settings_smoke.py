"""What `ordersaga smoke` asks, and as whom. See `settings`."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from ordersaga.settings_connections import Seconds
from ordersaga.settings_http import HttpSettings


class SmokeSettings(HttpSettings):
    """The third part of `Settings`."""

    # --- the smoke test -----------------------------------------------------------------------------------------

    smoke_api_url: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://\S+)?$",
        description="Where `ordersaga smoke` finds the API. Empty: on this machine, at the port that is set.",
    )
    smoke_token: SecretStr | None = Field(
        None, description="The token with which it orders and cancels. None: as where nobody is asked for one."
    )
    smoke_payment_url: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://\S+)?$",
        description=(
            "Where the reference payment service can be asked what became of a payment. Empty: the saga's word counts."
        ),
    )
    smoke_customer_id: str = Field(
        "smoke-test",
        min_length=1,
        max_length=255,
        description=(
            "The customer who orders. The reference user service knows anybody; with services of your own, a customer"
            " whose card can be charged 50 cents and given them back."
        ),
    )
    smoke_timeout_seconds: Seconds = Field(
        60, description="How long each outcome is waited for. Twice as long as a step is: one that is asked again."
    )

    @field_validator("smoke_api_url", "smoke_payment_url")
    @classmethod
    def _names_nobody(cls, url: str) -> str:
        """It is shown."""
        if "@" in urlsplit(url).netloc:
            raise ValueError("must have no name and no password before an @: a token goes into ORDERSAGA_SMOKE_TOKEN")
        return url
