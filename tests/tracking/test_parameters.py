"""The parameters a script reads, and the error that says what to add to mlo.yaml."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from mlops_cli.core.errors import Exit, ProjectError
from mlops_cli.core.tracking.errors import ParamMissing
from mlops_cli.core.tracking.parameters import Params

GIVEN = {"seed": 7, "model": {"depth": 3, "loss": {"name": "l2"}}, "layers": [1, 2]}


def test_parameters_are_a_plain_dict_that_nests() -> None:
    params = Params(GIVEN)
    assert params == GIVEN
    assert params["model"]["loss"]["name"] == "l2"
    assert {**params} == GIVEN
    assert json.loads(json.dumps(params)) == GIVEN
    assert params.get("absent") is None
    assert "absent" not in params


def test_a_missing_one_outside_a_stage_names_what_to_add() -> None:
    with pytest.raises(KeyError) as caught:
        Params(GIVEN)["model"]["rate"]
    error = caught.value
    assert isinstance(error, ProjectError)
    assert error.exit_code == Exit.PROJECT
    assert str(error) == "mlo.yaml has no parameter model.rate; it has model.depth, model.loss"
    assert error.hint is not None
    assert "params: {model: {rate: ...}}" in error.hint
    assert f"hint: {error.hint}" in error.__notes__


def test_a_missing_one_inside_a_stage_names_the_stage() -> None:
    with pytest.raises(
        ParamMissing, match="stage train does not declare the parameter rate; it declares seed"
    ) as caught:
        Params({"seed": 7}, stage="train")["rate"]
    assert caught.value.hint is not None
    assert "stages.train.params" in caught.value.hint


def test_no_parameters_at_all_say_so() -> None:
    with pytest.raises(ParamMissing, match="none at all"):
        Params({})["rate"]


def test_parameters_travel_to_worker_processes() -> None:
    params = Params(GIVEN, stage="train")
    for again in (pickle.loads(pickle.dumps(params)), copy.deepcopy(params)):
        assert again == GIVEN
        with pytest.raises(ParamMissing, match="stage train"):
            again["model"]["rate"]
