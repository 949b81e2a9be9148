"""Every metric that the server exposes: its name, its labels, and how those of several processes become one."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Family(NamedTuple):
    """`name` is without the `_total` of a counter. `merged` says how the values of several processes become one.

    A histogram that is not `has_sum` may hold negative values: OpenMetrics then forbids the sum, and the count with it;
    the bucket `+Inf` counts all.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    merged: Literal["sum", "max", "min"] = "sum"
    has_sum: bool = True


_MODEL, _VERSION = ("model",), ("model", "version")

FAMILIES = (
    Family("mlo_requests", "counter", "Requests answered", ("model", "path", "status")),
    Family("mlo_request_seconds", "histogram", "Time from the headers to the answer", ("model", "path")),
    Family("mlo_in_flight_requests", "gauge", "Requests being answered"),
    Family("mlo_queued_requests", "gauge", "Requests waiting for the model", _MODEL),
    Family("mlo_refused", "counter", "Requests not predicted: queue full, too late for the SLA, expired in the queue",
           ("model", "reason")),
    Family("mlo_unread_requests", "counter", "Refused before there was a request: no HTTP, too slow, too large a head",
           ("status",)),
    Family("mlo_rows", "counter", "Rows answered", _MODEL),
    Family("mlo_batch_rows", "histogram", "Rows predicted in one go", _MODEL),
    Family("mlo_predict_seconds", "histogram", "Time in the model, for one batch", _MODEL),
    Family("mlo_predictions", "counter", "Rows answered with this class; other: any that has no series of its own",
           ("model", "version", "label")),
    Family("mlo_prediction_score", "histogram", "Probability of the second class of two; of more, the largest",
           _VERSION),
    Family("mlo_prediction_value", "histogram", "Predicted numbers", _VERSION, has_sum=False),
    Family("mlo_feedback", "counter", "Labels of earlier predictions taken in", _MODEL),
    Family("mlo_model_info", "gauge", "The version that answers", ("model", "version", "run"), "max"),
    Family("mlo_model_loaded", "gauge", "1 while a version of the model is in memory", _MODEL, "max"),
    Family("mlo_reloads", "counter", "Versions swapped in while serving", _MODEL),
    Family("mlo_reload_failures", "counter", "Versions that could not be loaded", _MODEL),
    Family("mlo_reload_failed", "gauge", "1 while the reference means a version that cannot be loaded", _MODEL, "max"),
    Family("mlo_registry_reachable", "gauge", "0 while the registry does not answer", merged="min"),
    Family("mlo_log_written_rows", "counter", "Rows of the prediction log written"),
    Family("mlo_log_dropped_rows", "counter", "Rows of the log dropped: memory or disk full"),
    Family("mlo_log_sampled_out_rows", "counter", "Rows left out of the log, as serve.sample says"),
    # The processes share one folder of what waits, and each counts all of it.
    Family("mlo_log_waiting_segments", "gauge", "Segments the log's remote has not got", merged="max"),
    Family("mlo_workers", "gauge", "Processes that answer"),
    Family("mlo_worker_restarts", "counter", "Processes that ended unasked and were replaced"),
    Family("process_cpu_seconds", "counter", "User and system processor time of all processes"),
    Family("process_resident_memory_bytes", "gauge", "Resident memory of all processes, shared pages counted in each"),
    Family("process_virtual_memory_bytes", "gauge", "Virtual memory of all processes"),
    Family("process_open_fds", "gauge", "Open file descriptors of all processes"),
    Family("process_max_fds", "gauge", "File descriptors that one process may open", merged="min"),
    Family("process_start_time_seconds", "gauge", "When the oldest process began, in Unix time", merged="min"),
)  # fmt: skip

KINDS = {family.name: family.kind for family in FAMILIES}
MERGED = {family.name: family.merged for family in FAMILIES}
