from pathlib import Path
from typing import Any


def findings(document: Any) -> dict[str, str]:
    return {finding["subject"]: finding["state"] for finding in document["findings"]}


def test_a_sound_project_is_all_ok_and_shows_settings_with_origins(here: Path, mlo: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLO_SERVE_PORT", "9000")
    (here / "mlo.yaml").write_text("name: x\ndrift: {alpha: 0.05}\n")
    document = mlo("doctor", "--json").json
    assert set(findings(document).values()) == {"ok"}
    origins = {setting["key"]: (setting["value"], setting["origin"]) for setting in document["settings"]}
    assert origins["serve.port"] == (9000, "MLO_SERVE_PORT")
    assert origins["drift.alpha"] == (0.05, "mlo.yaml")
    assert "MLO_SERVE_PORT" in mlo("doctor").stdout


def test_outside_a_project_the_machine_is_still_looked_at(here: Path, mlo: Any) -> None:
    document = mlo("doctor", "--json", exit_code=3).json
    assert findings(document) == {"python": "ok", "git": "ok", "extras": "ok", "project": "broken"}


def test_each_thing_that_is_broken_is_named_and_none_hides_the_next(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: x\nremotes: {gone: /nonexistent/place, file: ./file}\n")
    (here / "file").write_text("")
    (here / "mlo.lock").write_text("version: 1\ndata: {../x: {}}\n")
    (here / ".mlo").mkdir()
    (here / ".mlo" / "mlo.db").write_bytes(b"this is not a database at all" * 50)
    document = mlo("doctor", "--json", exit_code=3).json
    states = findings(document)
    assert states["mlo.lock"] == states["runs"] == states["registry"] == states["remote file"] == "broken"
    assert states["cache"] == states["disk"] == "ok"
    assert all(finding["hint"] for finding in document["findings"] if finding["state"] == "broken")
