import json
import pwd
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.schema import Project, json_schema
from mlops_cli.core.project.settings import Loaded, load, user_config_path

FULL = """\
name: flights
params: {seed: 7, learning_rate: 0.08}
stages:
  train:
    cmd: python train.py
    deps: [data/train.parquet]
    params: [seed]
    outs: [model]
    timeout: 30m
    retries: 1
    plots: [{path: roc.csv, x: fpr, y: tpr}]
model:
  name: flights
  path: model
  evaluate: {data: data/test.parquet, target: late}
  gates:
    production: ["auc >= 0.65"]
serve: {port: 8080, log: true}
drift: {window: 24h, alpha: 0.01}
remotes: {origin: {url: s3://bucket/flights, trust: shared}}
"""


def load_text(folder: Path, text: str, environ: dict[str, str] | None = None, environment: str | None = None) -> Loaded:
    (folder / "mlo.yaml").write_text(text)
    return load(folder, environ or {}, environment=environment)


def test_the_whole_file_becomes_typed(tmp_path: Path) -> None:
    project = load_text(tmp_path, FULL).project
    assert project.stages["train"].written == ["model", "roc.csv"]
    assert project.model is not None
    assert project.model.gates == {"production": ["auc >= 0.65"]}
    assert project.remote("origin").trust == "shared"
    assert project.drift.floor == 0.05


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("port: 8080", "prt: 8080", "mlo.yaml:18:9: unknown key prt", "did you mean port?"),
        ("    cmd:", "    comand:", "mlo.yaml:5:5: unknown key comand", "did you mean cmd?"),
        ("{path: roc.csv, x: fpr", "{path: roc.csv, xx: fpr", "mlo.yaml:11:29: unknown key xx", "did you mean x?"),
        ("remotes:", "remote:", "mlo.yaml:20:1: unknown key remote", "did you mean remotes?"),
        ("target: late", "zebra: late", "unknown key zebra", "the keys there are data, target"),
        ("port: 8080", "port: http", "mlo.yaml:18:9: serve.port: Expected whole number, got text", "mend"),
        ("window: 24h", "window: soon", "mlo.yaml:19:9: drift.window", "mend"),
        ("retries: 1", "retries: -1", "mlo.yaml:10:5: stages.train.retries", "mend"),
        ("name: flights\nparams", "params", "mlo.yaml has no name", "add a line"),
        ("outs: [model]", "outs: [model", "mlo.yaml:", "mend the YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_how_to_mend_it(
    tmp_path: Path, old: str, new: str, message: str, hint: str
) -> None:
    assert old in FULL
    with pytest.raises(ProjectError) as caught:
        load_text(tmp_path, FULL.replace(old, new, 1))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_file_that_is_no_mapping_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="list, not a mapping"):
        load_text(tmp_path, "- a\n- b\n")
    (tmp_path / "mlo.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ProjectError, match="UTF-8"):
        load(tmp_path, {})


def test_the_project_is_found_from_below_and_its_absence_is_said(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with pytest.raises(ProjectError, match=r"no mlo\.yaml") as caught:
        find_root(tmp_path / "deep")
    assert "mlo init" in str(caught.value.hint)
    (tmp_path / "mlo.yaml").write_text("name: x\n")
    assert find_root(tmp_path / "deep" / "er") == tmp_path


def test_settings_know_their_origin_and_the_stronger_one_wins(tmp_path: Path) -> None:
    config = tmp_path / "home" / ".config" / "mlo" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("serve: {port: 1, host: 0.0.0.0}\ncache: {link: [hardlink]}\n")
    (tmp_path / "mlo.ci.yaml").write_text("drift: {alpha: 0.05}\nparams: {seed: 8}\n")
    environ = {"HOME": str(tmp_path / "home"), "MLO_DRIFT_WINDOW": "7d"}
    loaded = load_text(tmp_path, FULL, environ, "ci")
    origins = {setting.key: (setting.value, setting.origin) for setting in loaded.settings}
    assert origins["serve.port"] == (8080, "mlo.yaml")
    assert origins["serve.host"] == ("0.0.0.0", str(config))
    assert origins["cache.link"] == (("hardlink",), str(config))
    assert origins["drift.alpha"] == (0.05, "mlo.ci.yaml")
    assert origins["drift.window"] == ("7d", "MLO_DRIFT_WINDOW")
    assert origins["retrain.cooldown"] == ("7d", "default")
    assert loaded.project.params == {"seed": 8, "learning_rate": 0.08}


def test_a_missing_overlay_is_an_error_and_never_ignored(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"mlo\.prod\.yaml"):
        load_text(tmp_path, FULL, environment="prod")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("{weights: {0: 1, 1: 5}}", "2:20: params.weights.0 holds the key 0"),
        ("{a: [1, {b: {null: 2}}]}", "params.a.1.b.None holds the key None"),
        ("{big: 123456789012345678901234567890}", "2:10: params.big holds 1234"),
        ("{raw: !!binary aGk=}", "2:10: params.raw holds a value of the type bytes"),
        ("{day: !!timestamp 2013-01-01}", "type date"),
        ("{names: !!set {a, b}}", "type set"),
    ],
)
def test_a_parameter_that_json_cannot_say_is_named_with_its_place(tmp_path: Path, params: str, says: str) -> None:
    with pytest.raises(ProjectError) as caught:
        load_text(tmp_path, f"name: p\nparams: {params}\n")
    assert says in caught.value.message


@pytest.mark.parametrize("cmd", ["[]", "''"])
def test_a_stage_without_a_command_is_refused(tmp_path: Path, cmd: str) -> None:
    with pytest.raises(ProjectError, match=r"stages\.one\.cmd"):
        load_text(tmp_path, f"name: p\nstages: {{one: {{cmd: {cmd}, outs: [o]}}}}\n")


def test_a_user_without_a_home_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as for a uid that no passwd file names
    assert user_config_path({}) is None


def test_the_users_configuration_may_not_hold_a_project(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "mlo" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("stages: {}\n")
    with pytest.raises(ProjectError, match="stages belongs into"):
        load_text(tmp_path, FULL, {"HOME": str(tmp_path)})


def test_the_published_schema_is_the_one_the_types_make() -> None:
    published = json.loads((files("mlops_cli.core.project") / "mlo.schema.json").read_text())
    assert published == json.loads(json.dumps(json_schema()))


def test_the_schema_accepts_and_refuses_what_mlo_does() -> None:
    document, _ = yaml12.read(FULL, "mlo.yaml")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(document, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "stage": {}}, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "serve": {"port": "x"}}, json_schema())


def test_every_key_of_the_design_is_known() -> None:
    assert {"name", "params", "stages", "model", "serve", "drift", "retrain", "registry", "remotes"} <= set(
        Project.__struct_fields__
    )


@pytest.mark.parametrize(
    ("stage", "message", "hint"),
    [
        ("{cmd: true}", "mlo.yaml:2:14: stages.s.cmd: Expected text or list, got true or false", "quotes"),
        ("{cmd: 3}", "Expected text or list, got whole number", "quotes"),
        ("{cmd: x, retries: many}", "stages.s.retries: Expected whole number, got text", "mend"),
        ("{cmd: x, deps: {a: 1}}", "stages.s.deps: Expected list, got mapping", "mend"),
        ("{deps: [a]}", "stages.s: the key cmd is missing", "mend"),
    ],
)
def test_a_value_of_another_kind_is_told_in_words(tmp_path: Path, stage: str, message: str, hint: str) -> None:
    (tmp_path / "mlo.yaml").write_text(f"name: x\nstages: {{s: {stage}}}\n")
    with pytest.raises(ProjectError) as caught:
        load(tmp_path, {})
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
