"""Two rows for every client, as tensors by name: plain ones, and such as put a protocol to the test."""

import numpy as np

PLAIN = {
    "carrier": ("BYTES", np.array([b"UA", b"DL"], dtype=object)),
    "distance": ("INT64", np.array([500, 500])),
    "temp": ("FP64", np.array([41.5, -20.0])),
    "pressure": ("FP32", np.array([1013.2, 1000], np.float32)),
    "night": ("BOOL", np.array([False, True])),
}
ODD = {
    **PLAIN,
    "carrier": ("BYTES", np.array([b"UA", "naïve ✈".encode()], dtype=object)),
    "temp": ("FP32", np.array([41.5, -20], np.float32)),
    "pressure": ("FP64", np.array([1013.2, np.nan])),
}
