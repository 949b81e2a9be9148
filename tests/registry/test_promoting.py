"""Aliases move forward through gates and back without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_project import MLO_YAML, RegistryProject

from mlops_cli.core.errors import Exit, IntegrityError, NotFound, ProjectError, RemoteError, UsageError
from mlops_cli.core.events.chain import verify
from mlops_cli.core.workflows import promote as promoting
from mlops_cli.core.workflows.gates import GateReport, GateResult, check_gates
from mlops_cli.core.workflows.promote import Promotion, promote_model, rollback_model
from mlops_cli.core.workflows.register import register_model

GATES = '["auc >= 0.65", "auc >= champion.auc - 0.005"]'


@pytest.fixture
def project(tmp_path: Path) -> RegistryProject:
    return RegistryProject(tmp_path / "project")


def add(project: RegistryProject, *, skill: float = 1.0, seed: int = 1, metrics: dict[str, float] | None = None) -> str:
    project.run(skill=skill, seed=seed, metrics=metrics)
    return register_model(project.workspace()).title


def promote(project: RegistryProject, ref: str, alias: str = "production", *, dry: bool = False) -> Promotion:
    return promote_model(project.workspace(), ref, alias, dry=dry)


def judge(project: RegistryProject, *gates: str, champion: bool = True) -> GateReport:
    """The gates on flights@2, against flights@1."""
    listed = ", ".join(f'"{gate}"' for gate in gates)
    project.configure(GATES, f"[{listed}]")
    workspace = project.workspace()
    versions = workspace.registry.versions("flights")
    return check_gates(workspace, versions[-1], "production", versions[0] if champion else None)


def kinds(project: RegistryProject) -> list[str]:
    return [event.kind for event in project.workspace().registry.history()]


def test_the_first_promotion_passes_its_champion_gates_and_says_so(project: RegistryProject) -> None:
    add(project)
    done = promote(project, "flights@1")
    assert (done.changed, done.refused, done.before, done.champion) == (True, False, None, None)
    assert [gate.holds for gate in done.gates] == [True, True]
    assert done.gates[0].reason is None
    assert "no champion in production yet" in str(done.gates[1].reason)
    assert project.workspace().registry.alias("flights", "production") == 1


def test_a_worse_model_is_refused_with_both_numbers_and_the_refusal_is_recorded(project: RegistryProject) -> None:
    add(project)
    promote(project, "flights@1")
    add(project, skill=0.0, seed=2)
    done = promote(project, "flights@latest")
    assert (done.changed, done.refused, done.champion) == (False, True, "flights@1")
    lost = done.gates[1]
    assert not lost.holds
    [comparison] = lost.comparisons
    assert comparison.values["champion.auc"] > comparison.values["auc"]  # type: ignore[operator]
    assert comparison.left == comparison.values["auc"]
    assert kinds(project) == ["register", "promote", "register", "refuse"]
    event = project.workspace().registry.history()[-1]
    assert (event.subject, event.data["champion"]) == ("flights@2", "flights@1")
    assert event.data["gates"][1]["comparisons"][0]["values"]["champion.auc"] == comparison.values["champion.auc"]
    assert project.workspace().registry.alias("flights", "production") == 1


def test_a_champion_is_scored_on_the_candidate_s_rows_not_by_its_own_past(project: RegistryProject) -> None:
    add(project, seed=1)
    add(project, seed=2)
    workspace = project.workspace()
    first, second = workspace.registry.versions("flights")
    report = check_gates(workspace, second, "production", first)
    assert report.values["auc"] == second.scores["auc"]
    assert report.values["champion.auc"] != first.scores["auc"]


TABLE = [
    ("auc > 0.5 and log_loss < 0.7", True),
    ("auc > 0.5 and not log_loss < 0.7", False),
    ("`val/acc` >= 0.8", True),
    ("`val/acc` >= 0.8 and steps == 7", True),
    ("`val/acc` > 0.8 or auc > 0.5", True),
    ("bad < 1", False),
    ("not bad < 1", False),
    ("bad < 1 or auc > 0.5", True),
    ("auc - champion.auc > -1", True),
    ("auc - champion.auc > 1", False),
    ("auc > 0.5 and champion.auc > 0.99999", False),
    ("rmse < 1", False),
    ("auc < champion.rmse", False),
    ("champion.steps < 10", False),
    ("champion.steps < 10 or auc > 0.5", True),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GateResult]:
    """Every gate of the table, judged once on the same two models."""
    project = RegistryProject(tmp_path_factory.mktemp("judged") / "project")
    for seed in (1, 2):
        add(project, seed=seed, metrics={"val/acc": 0.8, "steps": 7, "bad": float("nan")})
    return {gate.gate: gate for gate in judge(project, *(text for text, _ in TABLE)).gates}


@pytest.mark.parametrize(("gate", "holds"), TABLE)
def test_gates_hold_as_they_read(judged: dict[str, GateResult], gate: str, holds: bool) -> None:
    result = judged[gate]
    assert result.holds is holds, result
    if "champion.steps" in gate and not holds:
        assert "champion.steps cannot be scored: steps is a metric of the run" in str(result.reason)
    if "rmse" in gate:
        assert "rmse is not a score of a classification model" in str(result.reason)
    if gate.startswith("bad") and not holds:
        assert "bad is NaN" in str(result.reason)


@pytest.mark.parametrize(
    ("gate", "holds"),
    [
        ("auc >= champion.auc", True),
        ("auc >= 0.999999 and auc >= champion.auc", False),
        ("auc >= 0.5 and auc >= champion.auc", True),
        ("not auc < champion.auc", True),
        ("champion.steps < 3", True),
    ],
)
def test_without_a_champion_only_its_comparisons_are_passed(project: RegistryProject, gate: str, holds: bool) -> None:
    add(project, metrics={"steps": 7})
    assert judge(project, gate, champion=False).gates[0].holds is holds


@pytest.mark.parametrize("gate", ["acu > 0.5", "champion.acu < auc", "val > 1"])
def test_an_unknown_name_is_an_error_that_names_what_is_known(project: RegistryProject, gate: str) -> None:
    add(project, metrics={"steps": 7})
    with pytest.raises(ProjectError, match="no score and no metric") as caught:
        judge(project, gate)
    assert "auc" in str(caught.value.hint)
    assert "steps" in str(caught.value.hint)
    assert caught.value.exit_code == Exit.PROJECT


def test_a_metric_with_a_slash_that_lacks_backquotes_is_pointed_out(project: RegistryProject) -> None:
    add(project, metrics={"val/acc": 0.8})
    with pytest.raises(ProjectError) as caught:
        judge(project, "val/acc > 0.5")
    assert "`val/acc` in backquotes" in str(caught.value.hint)


def test_without_evaluation_rows_a_score_is_the_run_s_metric_and_no_champion_can_be_scored(
    project: RegistryProject,
) -> None:
    project.configure("  evaluate: {data: data/test.csv, target: late}\n", "")
    add(project, metrics={"auc": 0.9})
    add(project, seed=2, metrics={"auc": 0.8})
    report = judge(project, "auc > 0.7", "auc > champion.auc", "f1 > 0")
    assert [gate.holds for gate in report.gates] == [True, False, False]
    assert "without evaluation rows" in str(report.gates[1].reason)
    assert "no evaluation rows" in str(report.gates[2].reason)


def test_a_champion_that_cannot_be_loaded_refuses_its_gate_with_the_reason(project: RegistryProject) -> None:
    add(project)
    promote(project, "flights@1")
    add(project, seed=2)
    workspace = project.workspace()
    champion = workspace.registry.version("flights", 1)
    for private in ("models", "cache/objects/xxh128"):
        hexadecimal = champion.model.name.hex
        place = workspace.paths.private / private / (hexadecimal if private == "models" else hexadecimal[:2])
        if place.is_dir() and private == "models":
            for path in place.iterdir():
                path.unlink()
            place.rmdir()
        elif place.is_dir():
            (place / hexadecimal[2:]).unlink()
    done = promote(project, "flights@2")
    assert done.refused
    assert "flights@1 cannot be scored" in str(done.gates[1].reason)


def test_a_dry_run_judges_and_records_nothing(project: RegistryProject) -> None:
    add(project)
    done = promote(project, "flights@1", dry=True)
    assert (done.dry, done.changed, [gate.holds for gate in done.gates]) == (True, False, [True, True])
    assert kinds(project) == ["register"]


def test_promoting_what_is_there_already_changes_nothing(project: RegistryProject) -> None:
    add(project)
    promote(project, "flights@1")
    again = promote(project, "flights@production")
    assert (again.changed, again.refused, again.before) == (False, False, 1)
    assert kinds(project) == ["register", "promote"]


def test_an_alias_without_gates_takes_any_version(project: RegistryProject) -> None:
    add(project, skill=-1.0)
    assert promote(project, "flights@1", "staging").changed
    assert promote(project, "flights@staging", "canary").changed


@pytest.mark.parametrize("alias", ["3", "latest", "a b", ""])
def test_an_alias_that_could_be_taken_for_a_version_is_refused(project: RegistryProject, alias: str) -> None:
    add(project)
    with pytest.raises(UsageError, match=r"alias|newest"):
        promote(project, "flights@1", alias)


def test_a_run_cannot_be_promoted_before_it_is_registered(project: RegistryProject) -> None:
    run = project.run()
    with pytest.raises(UsageError, match="only a registered version"):
        promote(project, f"runs:{run}")


def test_a_model_that_is_not_what_was_registered_is_never_pointed_at(project: RegistryProject) -> None:
    add(project)
    workspace = project.workspace()
    version = workspace.registry.version("flights", 1)
    damage(project, version.files)
    with pytest.raises(IntegrityError):
        promote(project, "flights@1")
    assert kinds(project) == ["register"]


def damage(project: RegistryProject, files: dict[str, str]) -> None:
    """Change the model's file in the cache, and drop the copy made of it."""
    from mlops_cli.core.store.tree import walk

    workspace = project.workspace()
    version = workspace.registry.version("flights", 1)
    assert "model.skops" in files
    for name, found in walk(workspace.store, version.model):
        if name == "model.skops":
            path = workspace.store.file_of(found.entry.name)
            data = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    copy = workspace.paths.private / "models" / version.model.name.hex
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()


def test_rollback_points_back_and_promotion_forward_again(project: RegistryProject) -> None:
    project.configure(GATES, "[]")
    for seed in (1, 2):
        promote(project, add(project, seed=seed))
    back = rollback_model(project.workspace(), "flights")
    assert (back.action, back.version, back.before, back.changed) == ("rollback", 1, 2, True)
    assert project.workspace().registry.alias("flights", "production") == 1
    with pytest.raises(NotFound, match="nothing was promoted there before it"):
        rollback_model(project.workspace(), "flights")
    assert promote(project, "flights@2").before == 1
    assert kinds(project)[-2:] == ["rollback", "promote"]
    assert verify(project.workspace().events).holds


def test_rollback_refuses_a_version_whose_files_are_not_what_was_registered(project: RegistryProject) -> None:
    project.configure(GATES, "[]")
    for seed in (1, 2):
        promote(project, add(project, seed=seed))
    damage(project, project.workspace().registry.version("flights", 1).files)
    with pytest.raises(IntegrityError):
        rollback_model(project.workspace(), "flights")
    assert project.workspace().registry.alias("flights", "production") == 2


def test_rollback_of_what_was_never_promoted_is_not_found(project: RegistryProject) -> None:
    with pytest.raises(NotFound, match="no model is registered"):
        rollback_model(project.workspace(), "flights")
    add(project)
    with pytest.raises(NotFound, match="no alias production"):
        rollback_model(project.workspace(), "flights")


def test_gates_are_judged_again_if_the_champion_changed_meanwhile(
    project: RegistryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.configure(GATES, '["auc >= champion.auc - 1"]')
    for seed in (1, 2, 3):
        add(project, seed=seed)
    promote(project, "flights@1")
    judged: list[str | None] = []
    real = promoting.check_gates

    def slow(workspace: object, version: object, alias: str, champion: object) -> GateReport:
        report = real(workspace, version, alias, champion)  # type: ignore[arg-type]
        judged.append(report.champion)
        if len(judged) == 1:
            monkeypatch.setattr(promoting, "check_gates", real)
            promote(project, "flights@2")
            monkeypatch.setattr(promoting, "check_gates", slow)
        return report

    monkeypatch.setattr(promoting, "check_gates", slow)
    done = promote(project, "flights@3")
    assert judged == ["flights@1", "flights@2"]
    assert (done.before, done.champion) == (2, "flights@2")


def test_an_unreachable_registry_is_an_error_and_never_no_champion(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    project = RegistryProject(tmp_path / "project", MLO_YAML + f"registry: {tmp_path}/shared\n")
    add(project)
    promote(project, "flights@1")
    (tmp_path / "shared").rename(tmp_path / "away")
    with pytest.raises(RemoteError) as caught:
        promote(project, "flights@1")
    assert caught.value.exit_code == Exit.REMOTE
