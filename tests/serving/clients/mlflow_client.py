"""Asks a server through MLflow's client of its scoring protocol, and prints what it was told."""

import json
import sys
from urllib.parse import urlsplit

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

address = urlsplit(sys.argv[1])
client = ScoringServerClient(address.hostname, address.port)
frame = pd.DataFrame(
    {
        "carrier": ["UA", "DL"],
        "distance": [500, 500],
        "temp": [41.5, -20.0],
        "pressure": [1013.2, None],
        "night": [False, True],
    },
    index=[7, 9],
)
client.wait_server_ready(timeout=10)
told = {
    "version": json.loads(client.get_version()),
    "frame": client.invoke(frame).get_predictions()[0].tolist(),
    "rows": client.invoke(frame.fillna(1000.0).to_dict("records")).get_predictions()[0].tolist(),
}
try:
    told["refused"] = str(client.invoke(frame.drop(columns="temp")))
except Exception as error:
    told["refused"] = str(error)
print(json.dumps(told))
