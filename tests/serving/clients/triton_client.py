"""Asks a server through NVIDIA's tritonclient over HTTP, and prints what it was told. Runs where that is installed."""

import json
import sys

import numpy as np
from rows import ODD
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

url, model = sys.argv[1:3]
client = InferenceServerClient(url.removeprefix("http://"))


def inputs(binary: bool, **changed: tuple[str, np.ndarray]) -> list[InferInput]:
    made = []
    for name, (datatype, values) in {**ODD, **changed}.items():
        tensor = InferInput(name, list(values.shape), datatype)
        made.append(tensor.set_data_from_numpy(values, binary_data=binary))
    return made


def plain(name: str, result: object) -> list[object]:
    return result.as_numpy(name).tolist()


def refusal(call: object) -> dict[str, object]:
    try:
        return {"answered": str(call())}
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


whole = {"pressure": ("FP64", np.array([1013.2, 1000.0]))}  # no JSON has NaN
told = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": [client.is_model_ready(model), client.is_model_ready(model, "1"), client.is_model_ready(model, "9")],
    "unknown ready": client.is_model_ready("nope"),
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata(model),
}
binary = client.infer(model, inputs(True), request_id="id-1")
told["binary"] = {"predict": plain("predict", binary), "response": binary.get_response()}
text = client.infer(model, inputs(False, **whole), outputs=[InferRequestedOutput("predict", binary_data=False)])
told["json"] = {"predict": plain("predict", text), "response": text.get_response()}
names = ("predict_proba", "predict")
both = client.infer(model, inputs(True), model_version="1", outputs=[InferRequestedOutput(name) for name in names])
told["both"] = {name: plain(name, both) for name in names}
mixed = [*inputs(True)[:2], *inputs(False, **whole)[2:]]
told["mixed"] = plain("predict", client.infer(model, mixed, priority=1, parameters={"tenant": "x"}))
handle = client.async_infer(model, inputs(True))
told["asynchronous"] = plain("predict", handle.get_result())
wrong = inputs(True, temp=("FP32", np.zeros((2, 3), np.float32)))
told["refusals"] = {
    "shape": refusal(lambda: client.infer(model, wrong)),
    "unknown input": refusal(lambda: client.infer(model, inputs(True, tmp=ODD["temp"]))),
    "version": refusal(lambda: client.infer(model, inputs(True), model_version="9")),
    "model": refusal(lambda: client.infer("nope", inputs(True))),
    "classes": refusal(
        lambda: client.infer(model, inputs(True), outputs=[InferRequestedOutput("predict", class_count=2)])
    ),
    "configuration": refusal(lambda: client.get_model_config(model)),
    "statistics": refusal(lambda: client.get_inference_statistics(model)),
}
packed = client.infer(
    model, inputs(True), request_compression_algorithm="gzip", response_compression_algorithm="deflate"
)
told["gzip"] = plain("predict", packed)
told["index"] = client.get_model_repository_index()
client.unload_model(model)
told["after unload"] = [client.is_model_ready(model), client.get_model_repository_index()]
client.load_model(model)
told["after load"] = [client.is_model_ready(model), plain("predict", client.infer(model, inputs(True)))]
told["unknown load"] = refusal(lambda: client.load_model("nope"))
told["load with config"] = refusal(lambda: client.load_model(model, config='{"max_batch_size": 1}'))
files = {"file:1/model.pkl": b"anything"}
told["load with a file"] = refusal(lambda: client.load_model(model, files=files))
client.close()
print(json.dumps(told))
