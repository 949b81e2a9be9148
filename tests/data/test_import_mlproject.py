"""`mlo import mlproject`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo

from mlops_cli.core.project import yaml12

FULL = """
name: flights
python_env: python_env.yaml
entry_points:
  main:
    parameters:
      data: {type: path, default: data/raw.csv}
      alpha: {type: float, default: 0.5}
      epochs: {type: float, default: 10}
      title: {type: string, default: two words}
    command: "python train.py --alpha {alpha} --epochs {epochs} --title {title} {data}"
  check:
    parameters:
      url: uri
      alpha: {type: float, default: 0.1}
    command: >
      python -m pkg.check --alpha={alpha} "{url}" ${{HOME}}
"""


def write(folder: Path, text: str, **files: str) -> None:
    (folder / "MLproject").write_text(text)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def one(command: str, parameters: str = "{}", more: str = "") -> str:
    text = yaml12.dump(command).strip().removesuffix("\n...")
    return f"entry_points:\n  main:\n    parameters: {parameters}\n    command: {text}\n{more}"


def config(folder: Path) -> Any:
    return yaml12.read((folder / "mlo.yaml").read_text(), "mlo.yaml")[0]


def told(answer: Any) -> str:
    return "\n".join(f"{item['item']} | {item['reason']} | {item['todo']}" for item in answer.json["left"])


@pytest.fixture
def full(here: Path) -> Path:
    write(here, FULL, train_py="import mlflow, os\nos.environ['TOKEN']\n", pkg__check_py="")
    (here / "data").mkdir()
    (here / "data" / "raw.csv").write_text("1\n")
    (here / "python_env.yaml").write_text(
        "python: 3.10\nbuild_dependencies: [pip]\ndependencies: [mlflow, 'scikit-learn>=1']\n"
    )
    return here


def test_entry_points_become_stages_with_their_parameters(full: Path, mlo: Mlo) -> None:
    answer = mlo("import", "mlproject", "--json")
    assert config(full) == {
        "name": "flights",
        "params": {
            "data": "data/raw.csv",
            "main": {"alpha": 0.5},
            "epochs": 10,
            "title": "two words",
            "url": None,
            "check": {"alpha": 0.1},
        },
        "env": {"python": "3.10", "lock": "requirements.lock"},
        "stages": {
            "main": {
                "cmd": "python train.py --alpha ${params.main.alpha} --epochs ${params.epochs} "
                "--title '${params.title}' '${params.data}'",
                "deps": ["train.py", "${params.data}"],
                "params": ["data", "main.alpha", "epochs", "title"],
            },
            "check": {
                "cmd": 'python -m pkg.check --alpha=${params.check.alpha} "${params.url}" ${HOME}',
                "deps": ["pkg/check.py"],
                "params": ["url", "check.alpha"],
            },
        },
    }
    said = told(answer)
    assert (
        "printf '%s\\n' mlflow 'scikit-learn>=1' | uv pip compile - --python-version 3.10 -o requirements.lock" in said
    )
    assert "build_dependencies" in said
    assert "parameter url | it is required and has no default | mlo run -P url=..." in said
    assert "its script reads TOKEN" in said
    assert "its script logs to MLflow" in said
    assert "stage check: deps and outs" in said
    assert answer.json["written"] == [".gitignore", "mlo.yaml"]
    assert (full / ".gitignore").read_text().count(".mlo") >= 1


def test_what_was_imported_runs_with_values_given(here: Path, mlo: Mlo) -> None:
    write(
        here,
        one(
            "printf '%s|' {words} {number} \"{words}\" {path} > out.txt",
            "{words: {default: a  b; c}, number: {type: float, default: 1.5}, path: path}",
        ),
    )
    mlo("import", "mlproject")
    answer = mlo("run", exit_code=5)
    assert "stage main needs the parameter path, which has no value" in answer.stderr
    assert "mlo run -P path=" in answer.stderr
    mlo("status")
    mlo("run", "--dry")
    assert not (here / "out.txt").exists()
    mlo("run", "-P", "path=x y", "-P", "number=2.5")
    assert (here / "out.txt").read_text() == "a  b; c|2.5|a  b; c|x y|"


def test_a_dry_run_shows_and_writes_nothing(full: Path, mlo: Mlo) -> None:
    before = sorted(full.iterdir())
    answer = mlo("import", "mlproject", "--dry-run")
    assert "would import MLflow project flights: 2 entry points" in answer.stdout
    assert "mlo.yaml would be:" in answer.stdout
    assert "${params.main.alpha}" in answer.stdout
    assert sorted(full.iterdir()) == before


def test_an_mlo_yaml_that_is_there_is_refused_and_with_force_kept_as_a_copy(full: Path, mlo: Mlo) -> None:
    mine = "name: mine\nparams: {old: 1}\nremotes: {origin: ../store}\n"
    (full / "mlo.yaml").write_text(mine)
    answer = mlo("import", "mlproject", exit_code=5)
    assert "exists already" in answer.stderr
    assert (full / "mlo.yaml").read_text() == mine
    assert not (full / ".gitignore").exists()
    answer = mlo("import", "mlproject", "--force", "--json")
    assert answer.json["copies"] == ["mlo.yaml.1.bak"]
    assert (full / "mlo.yaml.1.bak").read_text() == mine
    assert config(full)["name"] == "mine"
    assert config(full)["remotes"] == {"origin": "../store"}
    again = mlo("import", "mlproject", "--force", "--json")
    assert again.json["copies"] == again.json["written"] == []


def test_the_same_again_is_no_overwriting(here: Path, mlo: Mlo) -> None:
    write(here, one("true"))
    mlo("import", "mlproject")
    assert "everything was there already" in mlo("import", "mlproject").stdout


def test_a_folder_or_the_file_itself_may_be_named(here: Path, mlo: Mlo) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "mlproject").write_text(one("true"))
    mlo("import", "mlproject", "sub", "--dry-run")
    mlo("import", "mlproject", "sub/mlproject")
    assert config(here / "sub")["stages"] == {"main": {"cmd": "true"}}
    mlo("import", "mlproject", exit_code=6)
    mlo("import", "mlproject", "nowhere", exit_code=6)


@pytest.mark.parametrize(
    ("command", "parameters", "made"),
    [
        ("a {x}", "{x: float}", "a ${params.x}"),
        ("a {x}", "{x: string}", "a '${params.x}'"),
        ("a {x}", "{x: {default: 1}}", "a '${params.x}'"),
        ("a '{x}' {x}", "{x: string}", "a '${params.x}' '${params.x}'"),
        ('a "{x} {x}" {x}', "{x: path}", "a \"${params.x} ${params.x}\" '${params.x}'"),
        ('a \\"{x}', "{x: uri}", "a \\\"'${params.x}'"),
        ("a --x={x}", "{x: string}", "a --x='${params.x}'"),
        ("echo {{}} ${{HOME}}", "{}", "echo {} ${HOME}"),
        ("a {x-y}", "{x-y: float}", "a ${params.x-y}"),
    ],
)
def test_templates_become_references(here: Path, mlo: Mlo, command: str, parameters: str, made: str) -> None:
    write(here, one(command, parameters))
    mlo("import", "mlproject")
    assert config(here)["stages"]["main"]["cmd"] == made


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ("{x: {type: float, default: 1}}", 1),
        ("{x: {type: float, default: '0.25'}}", 0.25),
        ("{x: {type: float, default: 1e-3}}", 0.001),
        ("{x: {type: string, default: 1}}", "1"),
        ("{x: {type: string, default: true}}", "True"),
        ("{x: {default: 0.5}}", "0.5"),
        ("{x: {type: int, default: 3}}", 3),
        ("{x: {type: uri, default: 's3://b/k'}}", "s3://b/k"),
        ("{x: }", None),
        ("{x: {type: float, default: null}}", None),
    ],
)
def test_defaults_have_the_types_that_are_declared(here: Path, mlo: Mlo, parameters: str, value: Any) -> None:
    write(here, one("true {x}", parameters))
    mlo("import", "mlproject")
    assert config(here)["params"] == {"x": value}
    assert type(config(here)["params"]["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no entry points"),
        ("name: x", "it has no entry points"),
        ("- a", "which is no mapping"),
        ("entry_points: [main]", "MLproject:1:1: entry_points is"),
        ("entry_points: {main: }", "which is no mapping"),
        ("entry_points: {main: {parameters: {}}}", "entry point main has no command"),
        ("entry_points: {main: {command: 3}}", "entry point main has no command"),
        (one("a {x}", "{x: {type: float, default: many}}"), "MLproject:3:35: x is a float, and its default is 'many'"),
        (one("a {x}", "{x: {type: float, default: true}}"), "its default is True"),
        (one("a {x}", "{x: {type: float, default: .nan}}"), "its default is nan"),
        (one("a {x}", "{x: {type: [float]}}"), "the type of x is"),
        (one("a {x}", "{x: {default: [1]}}"), "no single value"),
        (one("a {x}", "{x: {typo: float}}"), "unknown key typo"),
        (one("a {x}", "{x: 3}"), "which is no mapping"),
        (one("a {y}", "{x: float}"), "the command names {y}, which is no parameter; it has x"),
        (one("a {}"), "the command names {}, which is no parameter"),
        (one("a {x:.2f}", "{x: float}"), "{x} in the command has a format"),
        (one("a {x!r}", "{x: float}"), "{x} in the command has a format"),
        (one("a {x.y}", "{x: float}"), "names {x.y}"),
        (one("a {"), "the command does not read"),
        (one("a }"), "the command does not read"),
        (one("a", more="conda_env: c.yaml\ndocker_env: {image: x}\n"), "MLproject:6:1: it has conda_env, docker_env"),
        (one("a", more="python_env: none.yaml\n"), "there is no none.yaml"),
        (one("a", more="python_env: [x]\n"), "python_env is"),
        (one("a", more="docker_env: {volumes: []}\n"), "names no image"),
        (one("a", more="docker_env: {image: x, environment: [[a]]}\n"), "is no variable"),
        ("a: b: c", "MLproject:1"),
        ("\0", "MLproject"),
    ],
)
def test_what_does_not_hold_is_refused_and_nothing_is_written(here: Path, mlo: Mlo, text: str, said: str) -> None:
    write(here, text)
    answer = mlo("import", "mlproject", exit_code=5)
    assert said in answer.stderr
    assert [path.name for path in here.iterdir()] == ["MLproject"]


def test_a_python_env_that_lists_files_names_them(here: Path, mlo: Mlo) -> None:
    write(here, one("a", more="python_env: env/python_env.yaml\n"))
    (here / "env").mkdir()
    (here / "env" / "python_env.yaml").write_text("python: '3.11.4'\ndependencies: ['-r requirements.txt']\n")
    said = told(mlo("import", "mlproject", "--json"))
    assert "uv pip compile requirements.txt --python-version 3.11.4 -o requirements.lock" in said
    assert config(here)["env"] == {"python": "3.11.4", "lock": "requirements.lock"}


def test_a_lock_that_is_there_is_taken(here: Path, mlo: Mlo) -> None:
    write(here, one("a", more="python_env: p.yaml\n"))
    (here / "p.yaml").write_text("dependencies: [numpy]\n")
    (here / "requirements.lock").write_text("numpy==2.0.0\n")
    assert "uv pip compile" not in told(mlo("import", "mlproject", "--json"))
    assert config(here)["env"] == {"lock": "requirements.lock"}


def test_conda_comes_as_it_is(here: Path, mlo: Mlo) -> None:
    write(here, one("a", more="conda_env: conda.yaml\n"))
    assert "there is no such file" in told(mlo("import", "mlproject", "--dry-run", "--json"))
    (here / "conda.yaml").write_text("dependencies: [python=3.11]\n")
    mlo("import", "mlproject")
    assert config(here)["env"] == {"conda": "conda.yaml"}


def test_docker_comes_by_digest_alone(here: Path, mlo: Mlo) -> None:
    more = "docker_env:\n  image: {image}\n  volumes: ['/a:/b']\n  environment: [[A, '1'], TOKEN]\n"
    write(here, one("a", more=more.replace("{image}", "team/image:3")))
    said = told(mlo("import", "mlproject", "--json"))
    assert "docker pull team/image:3" in said
    assert "volume /a:/b" in said
    assert "A=1" in said
    assert "env" not in config(here)
    assert config(here)["stages"]["main"]["pass_env"] == ["TOKEN"]
    pinned = "team/image@sha256:" + "0" * 64
    write(here, one("a", more=more.replace("{image}", pinned)))
    mlo("import", "mlproject", "--force")
    assert config(here)["env"] == {"docker": pinned}


def test_what_mlo_does_not_know_is_said(here: Path, mlo: Mlo) -> None:
    write(
        here,
        "name: my project\nspark: {}\nentry_points:\n"
        "  'train model': {command: 'mlflow run . -e other && source x', extra: 1}\n"
        "  train-model: {command: 'echo $TOKEN', parameters: {'a b': float, d: {type: path, default: 's3://b/k'}}}\n",
    )
    said = told(mlo("import", "mlproject", "--json"))
    for part in ("name my project", "spark |", "its entry point is train model", "extra", "calls mlflow itself", "a b"):
        assert part in said
    assert "MLflow downloads it first" in said
    assert list(config(here)["stages"]) == ["train-model", "train-model-2"]
    assert config(here)["stages"]["train-model"]["cmd"] == ["bash", "-c", "mlflow run . -e other && source x"]
    assert config(here)["stages"]["train-model-2"]["pass_env"] == ["TOKEN"]


def test_a_path_that_leaves_the_project_is_no_dep(here: Path, mlo: Mlo) -> None:
    (here.parent / "outside.csv").touch()
    parameters = "{x: {type: path, default: ../outside.csv}, y: {type: path, default: /etc/hostname}}"
    write(here, one("cat ../outside.csv {x} {y} .git/config", parameters))
    mlo("import", "mlproject")
    assert "deps" not in config(here)["stages"]["main"]
