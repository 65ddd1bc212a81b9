"""One service is asked; what cannot be asked is said, and no password with it."""

import pytest

from ordersaga.smoke.asking import Service, Unanswered

PASSWORD = "c4n4ry-s3cret"


@pytest.mark.parametrize("port", ["", ":8080", ":http"])
def test_an_address_with_a_password_is_not_asked_and_the_password_not_told(port: str) -> None:
    service = Service(f"http://probe:{PASSWORD}@127.0.0.1{port}/api/")
    with pytest.raises(Unanswered) as caught:
        service.ask("GET", "/livez")
    assert service.url == f"http://127.0.0.1{port}/api"
    assert service.url in str(caught.value) and PASSWORD not in str(caught.value)


def test_what_is_no_address_is_said_so() -> None:
    with pytest.raises(Unanswered, match="is no address"):
        Service("http://127.0.0.1:http").ask("GET", "/livez")
