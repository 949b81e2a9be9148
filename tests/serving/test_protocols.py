"""PROTOCOLS.md, row by row, against a real server."""

import json
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from serving_kit import NAMES, ROW, running, served

VALUES = list(ROW.values())
DATATYPES = ["BYTES", "INT64", "FP64", "FP64", "BOOL"]


def tensors(n: int = 1, **changes: Any) -> list[dict[str, Any]]:
    made = [
        {"name": name, "shape": [n], "datatype": datatype, "data": [ROW[name]] * n}
        for name, datatype in zip(NAMES, DATATYPES, strict=True)
    ]
    return [{**tensor, **changes.get(tensor["name"], {})} for tensor in made]


# -- /invocations ----------------------------------------------------------------------------------------------

FORMS: list[dict[str, Any]] = [
    {"dataframe_split": {"columns": NAMES, "data": [VALUES]}},
    {"dataframe_split": {"index": [4], "columns": NAMES[::-1], "data": [VALUES[::-1]]}},
    {"dataframe_records": [ROW]},
    {"instances": [ROW]},
    {"instances": [VALUES]},
    {"inputs": {name: [value] for name, value in ROW.items()}},
    {"inputs": [ROW]},
    {"inputs": [VALUES], "params": {}},
]


@pytest.mark.parametrize("form", FORMS)
def test_invocations_takes_each_form_and_answers_alike(client: httpx.Client, form: dict[str, Any]) -> None:
    answer = client.post("/invocations", json=form)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [1]})
    assert answer.headers["content-type"] == "application/json"


def test_invocations_takes_csv(client: httpx.Client) -> None:
    text = ",".join(NAMES) + "\nUA,500,41.5,1013.2,false\nXX,500,-20,,true\n"
    answer = client.post("/invocations", content=text, headers={"content-type": "text/csv; charset=utf-8"})
    assert answer.json() == {"predictions": [1, 0]}


def test_invocations_takes_python_s_nan_for_a_missing_value_where_one_may_be_missing(client: httpx.Client) -> None:
    def ask(text: str, path: str = "/invocations") -> httpx.Response:
        return client.post(path, content=text.encode(), headers={"content-type": "application/json"})

    rows = json.dumps({"instances": [{**ROW, "pressure": float("nan")}, {**ROW, "temp": -20.0}]})
    assert "NaN" in rows
    assert ask(rows).json() == {"predictions": [1, 0]}
    assert "temp: row 1 is null" in ask(rows.replace("-20.0", "NaN")).json()["message"]
    assert "Infinity is no JSON" in ask(rows.replace("-20.0", "Infinity")).json()["message"]
    assert "1e999 is out of range" in ask(rows.replace("-20.0", "1e999")).json()["message"]
    assert "Expected `array`" in ask('{"instances": NaN}').json()["message"]
    assert "too deeply" in ask('{"instances": [NaN, ' + "[" * 90_000).json()["message"]
    assert "is not JSON" in ask(rows[:-1]).json()["message"]
    refused = ask(json.dumps({**ROW, "pressure": float("nan")}), "/predict")
    assert (refused.status_code, "write null" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_no_rows_get_no_predictions(client: httpx.Client, form: str) -> None:
    assert client.post("/invocations", json={form: []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "give exactly one of dataframe_split, dataframe_records, instances, inputs; the body has none of them"),
        ({"instances": [ROW], "inputs": [ROW]}, "the body has instances, inputs"),
        ({"dataframe_records": None}, "Expected `array`"),
        ({"rows": [ROW]}, "unknown field `rows`"),
        ({"instances": [ROW], "params": {"temperature": 1}}, "takes no params"),
        ({"dataframe_split": {"columns": NAMES[:-1], "data": []}}, "missing columns: night"),
        ({"dataframe_split": {"columns": NAMES, "data": [VALUES, VALUES[:2]]}}, "row 1: expected a list of 5 values"),
        ({"inputs": {"temp": 1}}, "missing columns"),
        ({"instances": [1, 2]}, "row 0: expected a list of 5 values, got 1"),
        ([ROW], "Expected `object`"),
    ],
)
def test_invocations_says_what_is_wrong_as_mlflow_does(client: httpx.Client, body: Any, message: str) -> None:
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    "media", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
def test_invocations_refuses_other_content_types(client: httpx.Client, media: str | None) -> None:
    headers = {"content-type": media} if media else {}
    answer = client.post("/invocations", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error_code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_an_encoding_that_is_not_spoken_is_refused_unread(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "br"}
    assert client.post("/invocations", content=b"\x1f\x8b", headers=headers).status_code == 415


# -- /predict --------------------------------------------------------------------------------------------------


def test_predict_answers_one_object_with_who_answered(client: httpx.Client) -> None:
    answer = client.post("/predict", json=ROW, headers={"x-request-id": "my-id"})
    document = answer.json()
    assert answer.headers["x-request-id"] == document.pop("request_id") == "my-id"
    assert 0.5 < document.pop("probability") < 1
    assert document == {"prediction": 1, "model": "flights", "version": 1}


def test_predict_answers_rows(client: httpx.Client) -> None:
    document = client.post("/predict", json={"rows": [ROW, {**ROW, "temp": -20, "pressure": None}]}).json()
    assert document["predictions"] == [1, 0]
    assert [probability > 0.5 for probability in document["probabilities"]] == [True, False]


def test_predict_works_without_a_content_type(client: httpx.Client) -> None:
    assert client.post("/predict", content=json.dumps(ROW).encode()).status_code == 200


@pytest.mark.parametrize("given", ["", "has space", "x" * 129, "naïve", "a\tb"])
def test_an_id_that_cannot_go_into_headers_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.post("/predict", json=ROW, headers={"x-request-id": given.encode()})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_predict_names_the_columns_at_fault(client: httpx.Client) -> None:
    bad = {**ROW, "temprature": 1}
    del bad["temp"]
    answer = client.post("/predict", json=bad)
    assert answer.status_code == 400
    assert answer.json()["error"] == "missing columns: temp; unknown columns: temprature (did you mean temp?)"
    assert client.post("/predict", json={**ROW, "temp": "x"}).json()["error"] == (
        'column temp: expected a number, got the string "x"'
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([ROW, ROW], 'the body is a list; for several rows send {"rows": [...]}'),
        ({"instances": [ROW]}, "a body with instances goes to /invocations"),
        ({"dataframe_split": {"columns": [], "data": []}}, "a body with dataframe_split goes to /invocations"),
        ({"inputs": [{"name": "temp", "shape": [1]}]}, "a body with tensors goes to /v2/models/flights/infer"),
    ],
)
def test_predict_says_where_another_protocol_s_body_belongs(client: httpx.Client, body: Any, says: str) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_a_null_is_missing_where_the_signature_says_so(client: httpx.Client) -> None:
    assert client.post("/predict", json={**ROW, "pressure": None}).status_code == 200
    answer = client.post("/predict", json={**ROW, "temp": None})
    assert answer.json()["error"] == "column temp is null, and this input may not be missing"


def test_the_time_column_is_optional(client: httpx.Client) -> None:
    assert client.post("/predict", json={**ROW, "time_hour": "2013-04-01T12:00:00Z"}).status_code == 200


# -- V2 --------------------------------------------------------------------------------------------------------


def infer(client: httpx.Client, inputs: Any, **rest: Any) -> httpx.Response:
    return client.post("/v2/models/flights/infer", json={"inputs": inputs, **rest})


def test_v2_says_what_it_is_and_that_it_lives(client: httpx.Client) -> None:
    assert client.get("/v2").json()["name"] == "mlo"
    assert client.get("/v2/").json()["extensions"] == ["binary_tensor_data", "model_repository"]
    assert client.get("/v2/health/live").json()["live"] is True
    assert client.get("/v2/health/ready").json()["ready"] is True
    for path in ("/v2/models/flights/ready", "/v2/models/flights/versions/1/ready"):
        assert client.get(path).json() == {"name": "flights", "ready": True}


def test_v2_describes_the_model(client: httpx.Client) -> None:
    document = client.get("/v2/models/flights/versions/1").json()
    assert document == client.get("/v2/models/flights").json()
    assert document["versions"] == ["1"]
    assert [(tensor["name"], tensor["datatype"]) for tensor in document["inputs"]] == list(
        zip(NAMES, DATATYPES, strict=True)
    )
    assert document["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
    ]


def test_v2_infers_and_echoes_the_id(client: httpx.Client) -> None:
    document = infer(client, tensors(3), id="abc").json()
    assert document == {
        "model_name": "flights",
        "model_version": "1",
        "id": "abc",
        "outputs": [{"name": "predict", "shape": [3], "datatype": "INT64", "data": [1, 1, 1]}],
    }


def test_v2_gives_the_outputs_that_are_asked_for(client: httpx.Client) -> None:
    outputs = infer(client, tensors(2), outputs=[{"name": "predict_proba"}]).json()["outputs"]
    assert [(tensor["name"], tensor["shape"], len(tensor["data"])) for tensor in outputs] == [
        ("predict_proba", [2, 2], 4)
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"temp": {"shape": [1, 1], "data": [[41.5]]}},
        {"temp": {"shape": [1, 1]}},
        {"temp": {"datatype": "INT32", "data": [41]}},
        {"distance": {"datatype": "UINT16"}},
        {"distance": {"datatype": "FP32", "data": [500.0]}},
        {"pressure": {"data": [None]}},
        {"carrier": {"parameters": {"content_type": "str"}}},
    ],
)
def test_v2_takes_each_tensor_in_the_ways_the_protocol_allows(client: httpx.Client, change: dict[str, Any]) -> None:
    assert infer(client, tensors(**change)).status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temp": {"shape": [2]}}, "tensor temp: the shape [2] does not fit 1 elements of data"),
        ({"temp": {"shape": [-1]}}, "the shape [-1] has a negative size"),
        ({"temp": {"shape": [10**18, 10**18]}}, "expected the shape [n] or [n, 1]"),
        ({"temp": {"shape": [1, 1, 1]}}, "expected the shape [n] or [n, 1]"),
        ({"temp": {"shape": [2, 1], "data": [[1.0, 2.0]]}}, "nested data does not have the shape [2, 1]"),
        ({"temp": {"shape": [1], "data": [[41.5], 40.5]}}, "nested data does not have the shape [1]"),
        ({"temp": {"shape": [1], "data": [[[1.0]]]}}, "element 0 is a list, which is no FP64"),
        ({"temp": {"datatype": "FLOAT"}}, "FLOAT is no datatype"),
        ({"temp": {"datatype": "BYTES"}}, "element 0 is 41.5, which is no BYTES"),
        ({"distance": {"datatype": "INT8"}}, "element 0 does not fit INT8"),
        ({"distance": {"datatype": "UINT8", "data": [-1]}}, "element 0 does not fit UINT8"),
        (
            {"distance": {"datatype": "UINT64", "data": [2**64 - 1]}},
            "column distance: row 0: the number does not fit 64 bits",
        ),
        ({"distance": {"data": [True]}}, "which is no INT64"),
        ({"carrier": {"name": "carier"}}, "missing columns: carrier; unknown columns: carier (did you mean carrier?)"),
        ({"carrier": {"name": "temp"}}, "tensor temp is given twice"),
        ({"temp": {"shape": [2], "data": [1.0, 2.0]}}, "columns differ in length"),
        ({"temp": {"data": [None]}}, "column temp: row 0 is null"),
    ],
)
def test_v2_names_the_tensor_at_fault(client: httpx.Client, change: dict[str, Any], message: str) -> None:
    answer = infer(client, tensors(**change))
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_v2_refuses_unknown_outputs_models_and_versions(client: httpx.Client) -> None:
    assert "no output nope" in infer(client, tensors(), outputs=[{"name": "nope"}]).json()["error"]
    assert "asked for twice" in infer(client, tensors(), outputs=[{"name": "predict"}] * 2).json()["error"]
    for path in ("/v2/models/trains", "/v2/models/trains/infer", "/v2/models/flights/versions/2/ready"):
        answer = client.request("POST" if path.endswith("infer") else "GET", path, json={})
        assert answer.status_code == 404
        assert "this server holds" in answer.json()["error"]
    assert client.get("/v2/models/flights/unready").json()["error"].startswith("there is nothing at")


def test_one_matrix_stands_for_all_inputs_where_all_are_numbers(tmp_path: Any) -> None:
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    from mlops_cli.core.models.save import save_model

    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 5.0], "b": [1, 0, 2, 7]})
    save_model(LinearRegression().fit(frame, 10 * frame["a"] + frame["b"]), tmp_path / "m", example=frame)
    with running(served(tmp_path / "m", name="line", version=None)) as client:
        path = "/v2/models/line/infer"
        matrix = {"name": "x", "shape": [2, 2], "datatype": "FP64"}
        for data in ([1.0, 2.0, 3.0, 4.0], [[1, 2], [3.0, 4.0]]):
            [output] = client.post(path, json={"inputs": [{**matrix, "data": data}]}).json()["outputs"]
            assert (output["name"], output["datatype"], output["shape"]) == ("predict", "FP64", [2])
            assert np.allclose(output["data"], [12, 34])
        wide = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1.0, 2.0, 3.0]}
        assert "does not fit the model's 2 inputs" in client.post(path, json={"inputs": [wide]}).json()["error"]
        document = client.post("/predict", json={"a": 1, "b": 2}).json()
        assert "probability" not in document
        assert document["version"] == "runs:aaaaaaaa"
        assert client.get("/v2/models/line").json()["versions"] == ["a" * 32]
        assert len(client.get("/v2/models/line").json()["outputs"]) == 1


def test_more_than_two_classes_are_named_with_their_probabilities(tmp_path: Any) -> None:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    from mlops_cli.core.models.save import save_model

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0] * 5})
    save_model(LogisticRegression().fit(frame, ["low", "mid", "top"] * 5), tmp_path / "m", example=frame)
    with running(served(tmp_path / "m")) as client:
        document = client.post("/predict", json={"x": 0.0}).json()
        assert document["prediction"] == "low"
        assert list(document["probability"]) == ["low", "mid", "top"]
        assert client.post("/invocations", json={"instances": [0.0, 2.0]}).json() == {"predictions": ["low", "top"]}


# -- the rest --------------------------------------------------------------------------------------------------


def test_ping_health_and_version(client: httpx.Client) -> None:
    assert client.get("/ping").json() == {"status": "ok"}
    health = client.get("/health").json()
    assert (health["status"], health["model"], health["version"]) == ("ok", "flights", 1)
    assert health["registry"] == {"reachable": True, "error": None}
    assert client.get("/version").json()["version"] == 1
    assert client.head("/health").status_code == 200
    paths = client.get("/").json()["paths"]
    assert {"/predict", "/v2/models/flights/infer", "/v2/models/flights/ready"} <= set(paths)
    assert not any("docs" in path for path in paths)


@pytest.mark.parametrize(("path", "form"), [("/nope", "error"), ("/v2/nope", "error"), ("/predict/x", "error")])
def test_unknown_paths_are_404_in_json(client: httpx.Client, path: str, form: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert form in answer.json()


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", "POST"),
        ("PUT", "/invocations", "POST"),
        ("POST", "/health", "GET"),
        ("DELETE", "/v2/models/flights", "GET"),
    ],
)
def test_other_methods_are_405_in_json_with_allow(client: httpx.Client, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    assert answer.json()


def test_the_docs_show_the_model_s_own_fields_and_example(client: httpx.Client) -> None:
    assert "swagger" in client.get("/docs").text
    document = client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert list(row["properties"]) == [*NAMES, "time_hour"]
    assert row["required"] == NAMES
    assert row["properties"]["pressure"]["type"] == ["number", "null"]
    assert row["properties"]["distance"]["type"] == "integer"
    assert client.post("/predict", json=row["example"]).status_code == 200


def test_the_docs_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) == 3
    assert "://" not in page
    for asset in assets:
        assert client.get(asset).status_code == 200, asset


def test_every_example_in_the_docs_is_answered(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in content.get("examples", {"": {"value": None}}).values():
                answer = client.request(method, path, json=example["value"])
                assert answer.status_code == 200, (path, answer.text)


def test_metrics_are_what_prometheus_reads(client: httpx.Client) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    client.post("/predict", json=ROW)
    client.get("/no/such/path")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert found["mlo_requests_total", (("path", "/predict"), ("status", "200"))] >= 1
    assert found["mlo_requests_total", (("path", "other"), ("status", "404"))] >= 1
    assert found["mlo_model_info", (("model", "flights"), ("run", "a" * 32), ("version", "1"))] == 1
    assert found["mlo_registry_reachable", ()] == 1
    edges = {
        label for name, labels in found if name == "mlo_request_seconds_bucket" for key, label in labels if key == "le"
    }
    assert "0.0005" in edges
    assert {"mlo_rows_total", "mlo_in_flight_requests", "mlo_queued_requests", "mlo_batch_rows_count"} <= {
        name for name, _ in found
    }


def test_fastapi_stands_behind_the_documentation_alone(client: httpx.Client) -> None:
    client.get("/docs")
    app = client.app  # type: ignore[attr-defined]
    assert isinstance(app._docs._app, FastAPI)
    assert {route.path for route in app._docs._app.routes} == {
        "/docs",
        "/docs/assets",
        "/docs/oauth2-redirect",
        "/openapi.json",
    }
