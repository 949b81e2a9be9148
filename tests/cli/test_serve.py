import runpy
import socket
from pathlib import Path
from typing import Any

import pytest

KIT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "serving" / "serving_kit.py"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("models")
    KIT["save"](base / "one")
    KIT["save"](base / "two", flipped=True)
    return base / "one", base / "two"


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: flights\n")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        # There is no model at all: the port is what is complained of.
        answer = mlo("serve", "flights@production", "--port", str(port), exit_code=11)
    assert f"cannot listen on 127.0.0.1 port {port}" in answer.stderr
    assert "choose another port" in answer.stderr


def test_an_address_of_another_machine_is_refused(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: flights\n")
    answer = mlo("serve", "flights@1", "--host", "192.0.2.1", "--insecure", "--port", "0", exit_code=11)
    assert "192.0.2.1" in answer.stderr


def test_an_open_host_without_a_token_is_refused(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: flights\n")
    answer = mlo("serve", "flights@1", "--host", "0.0.0.0", "--port", "0", exit_code=2)
    assert "no token protects the model" in answer.stderr
    assert "--insecure" in answer.stderr


@pytest.mark.parametrize(
    ("ref", "code", "words"),
    [
        ("flights", 2, "not a reference"),
        ("trains@1", 6, "there is no model trains"),
        ("flights@7", 6, "flights has no version 7"),
        ("flights@staging", 6, "flights has no alias staging"),
    ],
)
def test_an_unknown_model_version_or_alias_is_said(
    here: Path, mlo: Any, saved: tuple[Path, Path], ref: str, code: int, words: str
) -> None:
    KIT["project"](here, saved)
    answer = mlo("serve", ref, "--port", "0", exit_code=code)
    assert words in answer.stderr
    assert not (here / ".mlo" / "predictions").exists()


def test_a_model_that_was_altered_is_not_served(here: Path, mlo: Any, saved: tuple[Path, Path]) -> None:
    workspace = KIT["project"](here, saved)
    for path in (workspace.paths.cache / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"altered")
    mlo("serve", "flights@1", "--port", "0", exit_code=7)


def test_an_input_that_the_log_cannot_hold_is_refused_unless_there_is_no_log(
    here: Path, mlo: Any, saved: tuple[Path, Path]
) -> None:
    KIT["project"](here, saved)
    (here / "mlo.yaml").write_text("name: flights\nmodel: {name: flights, time: temp}\n")
    answer = mlo("serve", "flights@1", "--port", "0", exit_code=5)
    assert "the model's input temp has the name of model.time" in answer.stderr


def test_the_help_shows_examples(mlo: Any) -> None:
    text = mlo("serve", "--help").stdout
    assert "mlo serve flights@production\n" in text
    assert "MLO_SERVE_TOKEN" in text
