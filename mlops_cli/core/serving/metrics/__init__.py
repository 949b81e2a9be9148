"""What the server counts, what several processes of it counted together, and how Prometheus reads it."""

from mlops_cli.core.serving.metrics.counting import Metrics
from mlops_cli.core.serving.metrics.snapshot import fold
from mlops_cli.core.serving.metrics.text import CONTENT_TYPE, media_type, render

__all__ = ["CONTENT_TYPE", "Metrics", "fold", "media_type", "render"]
