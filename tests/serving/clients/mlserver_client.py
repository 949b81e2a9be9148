"""Asks a server with what MLServer ships for clients: its types and its codecs, over plain HTTP."""

import json
import sys
from urllib.request import Request, urlopen

import pandas as pd
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, MetadataServerResponse

url, model = sys.argv[1:3]
frame = pd.DataFrame(
    {
        "carrier": ["UA", "DL"],
        "distance": [500, 500],
        "temp": [41.5, -20.0],
        "pressure": [1013.2, 1000.0],
        "night": [False, True],
    }
)


def get(path: str) -> bytes:
    with urlopen(url + path) as answer:
        return answer.read()


def infer(request: InferenceRequest) -> InferenceResponse:
    body = request.model_dump_json(exclude_none=True).encode()
    asked = Request(f"{url}/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
    with urlopen(asked) as answer:
        return InferenceResponse.model_validate_json(answer.read())


rows = PandasCodec.encode_request(frame)
rows.id = "id-3"
answer = infer(rows)
print(
    json.dumps(
        {
            "server": MetadataServerResponse.model_validate_json(get("/v2")).model_dump(),
            "model": MetadataModelResponse.model_validate_json(get(f"/v2/models/{model}")).model_dump(mode="json"),
            "predict": NumpyCodec.decode_output(answer.outputs[0]).reshape(-1).tolist(),
            "id": answer.id,
            "request": rows.model_dump(mode="json", exclude_none=True),
        }
    )
)
