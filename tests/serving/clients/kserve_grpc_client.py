"""Asks a server over gRPC through KServe's InferenceGRPCClient, and prints what it was told."""

import asyncio
import json
import sys

from kserve import InferenceGRPCClient, InferInput, InferRequest
from rows import PLAIN

address, model = sys.argv[1:3]


async def infer(client: InferenceGRPCClient, binary: bool) -> dict[str, object]:
    tensors = []
    for name, (datatype, values) in PLAIN.items():
        tensors.append(InferInput(name, list(values.shape), datatype))
        tensors[-1].set_data_from_numpy(values, binary_data=binary)
    answer = await client.infer(InferRequest(model, tensors, request_id="id-5"))
    return {"id": answer.id, **{output.name: output.as_numpy().tolist() for output in answer.outputs}}


async def main() -> None:
    async with InferenceGRPCClient(address) as client:
        told = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(model),
            "raw": await infer(client, binary=True),
            "typed": await infer(client, binary=False),
        }
    print(json.dumps(told))


asyncio.run(main())
