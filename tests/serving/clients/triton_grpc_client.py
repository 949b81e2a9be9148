"""Asks a server over gRPC through NVIDIA's tritonclient, and prints what it was told."""

import json
import sys

from rows import ODD
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

address, model = sys.argv[1:3]


def refusal(call: object) -> list[str]:
    try:
        return ["answered", str(call())]
    except InferenceServerException as error:
        return [error.status(), error.message()]


client = InferenceServerClient(address)
tensors = []
for name, (datatype, values) in ODD.items():
    tensors.append(InferInput(name, list(values.shape), datatype))
    tensors[-1].set_data_from_numpy(values)
names = ("predict_proba", "predict")
answer = client.infer(
    model,
    tensors,
    model_version="1",
    request_id="id-4",
    outputs=[InferRequestedOutput(name) for name in names],
    client_timeout=30,
    compression_algorithm="gzip",
)
told = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": [client.is_model_ready(model), client.is_model_ready(model, "9"), client.is_model_ready("nope")],
    "server": client.get_server_metadata(as_json=True),
    "model": client.get_model_metadata(model, as_json=True),
    "id": answer.get_response().id,
    **{name: answer.as_numpy(name).tolist() for name in names},
    "missing": refusal(lambda: client.infer(model, tensors[:-1])),
    "repository": refusal(client.get_model_repository_index),
}
client.close()
print(json.dumps(told))
