"""Asks a server through KServe's InferenceRESTClient, and prints what it was told. Runs where that is installed."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from rows import PLAIN

url, model = sys.argv[1:3]


def request(binary: bool, **changed: tuple[str, np.ndarray]) -> InferRequest:
    tensors = []
    for name, (datatype, values) in {**PLAIN, **changed}.items():
        tensor = InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        tensors.append(tensor)
    outputs = [RequestedOutput("predict", {"binary_data": binary}), RequestedOutput("predict_proba")]
    return InferRequest(model, tensors, request_id="id-2", request_outputs=outputs)


async def refusal(client: InferenceRESTClient, asked: InferRequest) -> str:
    try:
        return str(await client.infer(url, asked, model_name=model))
    except httpx.HTTPStatusError as error:
        return str(error)


async def main() -> None:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        told = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": [await client.is_model_ready(url, model), await client.is_model_ready(url, "nope")],
        }
        for form, binary in (("binary", True), ("json", False)):
            answer = await client.infer(url, request(binary), model_name=model)
            told[form] = {output.name: output.as_numpy().tolist() for output in answer.outputs} | {
                "id": answer.id,
                "version": answer.model_version,
            }
        wrong = request(True, temp=("FP64", np.zeros((2, 3))))
        told["shape"] = await refusal(client, wrong)
    print(json.dumps(told))


asyncio.run(main())
