import socket

import httpx
import pytest
from serving_kit import ROW, running

from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.guard import Guard, is_loopback, require_token
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.problems import Problem


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    require_token(host, None, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_a_host_that_others_reach_needs_a_token_or_insecure(host: str) -> None:
    with pytest.raises(UsageError, match="no token protects"):
        require_token(host, None, insecure=False)
    with pytest.raises(UsageError):
        require_token(host, "", insecure=False)
    require_token(host, "secret", insecure=False)
    require_token(host, None, insecure=True)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "[::1]"])
def test_loopback_answers_to_its_names(name: str) -> None:
    Guard("127.0.0.1", None).check("/predict", {b"host": name.encode()})


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "127.0.0.1.evil.x", "", "localhost.", "[::2]"])
def test_loopback_refuses_other_names_against_rebinding(name: str) -> None:
    with pytest.raises(Problem) as caught:
        Guard("127.0.0.1", None).check("/health", {b"host": name.encode()})
    assert caught.value.status == 403


def test_an_open_host_answers_to_any_name() -> None:
    Guard("0.0.0.0", None).check("/predict", {b"host": b"model.example"})


def test_a_foreign_host_header_is_refused_over_http(client: httpx.Client) -> None:
    answer = client.post("/predict", json=ROW, headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "not to evil.example" in answer.json()["error"]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic secret", "Bearer", "secret", "Bearer secretx"])
def test_with_a_token_nothing_but_health_is_open(model: Served, given: str | None) -> None:
    headers = {"authorization": given} if given else {}
    with running(model, token="secret") as client:
        for path in ("/metrics", "/docs", "/openapi.json", "/version", "/v2", "/v2/models/flights", "/", "/nope"):
            answer = client.get(path, headers=headers)
            assert (path, answer.status_code) == (path, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.post("/predict", json=ROW, headers=headers).status_code == 401
        for path in ("/ping", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path, headers=headers).status_code == 200
        assert client.get("/health", headers=headers).json() == {"status": "ok"}


def test_the_right_token_opens_everything(model: Served) -> None:
    with running(model, token="secret") as client:
        client.headers["authorization"] = "bearer secret"
        assert client.post("/predict", json=ROW).status_code == 200
        assert client.get("/metrics").status_code == 200
        assert client.get("/health").json()["model"] == "flights"
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]


def asked(guard: Guard, path: str, token: str | None = None, host: str = "localhost") -> int:
    headers = {b"host": host.encode()}
    if token is not None:
        headers[b"authorization"] = f"Bearer {token}".encode()
    try:
        guard.check(path, headers)
    except Problem as problem:
        return problem.status
    return 200


ADMIN = ["/v2/repository/index", "/v2/repository/models/flights/load", "/admin/drain", "/admin"]


@pytest.mark.parametrize("path", ADMIN)
def test_without_any_token_loopback_may_change_what_is_served(path: str) -> None:
    assert asked(Guard("127.0.0.1", None), path) == 200


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize(("host", "token"), [("127.0.0.1", "secret"), ("0.0.0.0", "secret"), ("0.0.0.0", None)])
def test_without_an_admin_token_nobody_else_may(path: str, host: str, token: str | None) -> None:
    guard = Guard(host, token)
    assert asked(guard, path) == 403
    assert asked(guard, path, "secret") == 403


@pytest.mark.parametrize("path", ADMIN)
def test_the_admin_token_opens_everything_and_the_other_only_what_predicts(path: str) -> None:
    guard = Guard("127.0.0.1", "secret", "root")
    assert [asked(guard, path, token) for token in (None, "", "wrong", "secret", "root")] == [401, 401, 401, 403, 200]
    assert [asked(guard, "/predict", token) for token in (None, "wrong", "secret", "root")] == [401, 401, 200, 200]
    assert guard.knows({b"authorization": b"Bearer root"})


def test_with_an_admin_token_alone_predictions_stay_open() -> None:
    guard = Guard("127.0.0.1", None, "root")
    assert asked(guard, "/predict") == 200
    assert asked(guard, ADMIN[0]) == 401
    assert asked(guard, ADMIN[0], "root") == 200


def test_one_token_for_both_is_refused() -> None:
    with pytest.raises(UsageError, match="the same"):
        Guard("127.0.0.1", "secret", "secret")


@pytest.mark.parametrize(
    ("name", "status"), [("model.example", 200), ("MODEL.example:443", 200), ("evil.example", 403), ("", 403)]
)
def test_an_open_host_answers_to_the_names_it_was_given(name: str, status: int) -> None:
    guard = Guard("0.0.0.0", "secret", hosts=["Model.example"])
    assert asked(guard, "/predict", "secret", host=name) == status
    assert asked(guard, "/ping", host="10.0.0.7:8080") == 200


def test_names_come_on_top_of_loopback_s_own() -> None:
    guard = Guard("127.0.0.1", None, hosts=["model.example"])
    assert asked(guard, "/predict", host="model.example") == 200
    assert asked(guard, "/predict") == 200
    assert asked(guard, "/ping", host="evil.example") == 403


def test_a_stranger_is_refused_before_the_body_is_read(model: Served) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n"
    with running(model, token="secret") as client:
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
            connection.sendall(head)
            answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"\r\nconnection: close\r\n" in answer


def test_over_http_only_the_admin_lists_and_loads_models(model: Served) -> None:
    with running(model) as client:
        assert client.post("/v2/repository/index").status_code == 200
    with running(model, token="secret") as client:
        answer = client.post("/v2/repository/index", headers={"authorization": "Bearer secret"})
        assert answer.status_code == 403
        assert "MLO_SERVE_ADMIN_TOKEN" in answer.json()["error"]
