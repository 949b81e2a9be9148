"""`mlo serve`."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Put a model behind HTTP, and follow its alias.")


@app.command()
def serve(
    ctx: typer.Context,
    models: list[str] = typer.Argument(  # noqa: B008 - how Typer takes several
        ...,
        autocompletion=complete.references,
        metavar="REF...",
        help="name@production, name@3, name@latest or runs:<id>; of several, the first is the default.",
    ),
    host: str = typer.Option("", "--host", help="The address to listen on; serve.host by default."),
    port: int | None = typer.Option(None, "--port", min=0, max=65535, help="0 is any free one; serve.port by default."),
    no_log: bool = typer.Option(False, "--no-log", help="Do not log predictions."),
    insecure: bool = typer.Option(False, "--insecure", help="Let other machines ask without a token."),
    lazy: bool = typer.Option(False, "--lazy", help="Load each model at its first request."),
    workers: int | None = typer.Option(
        None, "--workers", min=1, max=256, help="Processes that share the port; serve.workers by default."
    ),
    tls_cert: str = typer.Option("", "--tls-cert", help="The certificate, as PEM: answer https."),
    tls_key: str = typer.Option("", "--tls-key", help="Its key, if that stands in another file."),
    tls_client_ca: str = typer.Option("", "--tls-client-ca", help="Who signs the clients' certificates."),
    grpc_port: int | None = typer.Option(
        None, "--grpc-port", min=0, max=65535, help="Answer gRPC there, too (the extra grpc)."
    ),
) -> None:
    """Put a model behind HTTP, and follow its alias.

    Answers MLflow's /invocations, the Open Inference Protocol under /v2 and with --grpc-port over gRPC, and named
    fields at /predict; shows /docs, /health and /metrics. When the alias moves, the new version is loaded and swapped
    in while requests go on.
    Ctrl-C and SIGTERM finish what is in flight. Other hosts than loopback need MLO_SERVE_TOKEN or --insecure.

    \b
    Examples:
      mlo serve flights@production
      mlo serve flights@3 --port 0 --json
      mlo serve flights@production --workers 4 --tls-cert server.pem --tls-key server.key
      mlo serve flights@production flights@2 delays@latest --lazy
      curl --json '{"temp": 41.2, "pressure": null}' localhost:8080/predict
    """
    from mlops_cli.cli.views.serve import show_server_log, show_serving
    from mlops_cli.core.workflows.serve import ServeOptions, serve_models

    here = open_context(ctx)
    show_server_log()
    options = ServeOptions(
        host=host or None,
        port=port,
        log=not no_log,
        insecure=insecure,
        lazy=lazy,
        workers=workers,
        tls_cert=Path(tls_cert).absolute() if tls_cert else None,
        tls_key=Path(tls_key).absolute() if tls_key else None,
        tls_client_ca=Path(tls_client_ca).absolute() if tls_client_ca else None,
        grpc_port=grpc_port,
    )
    code = serve_models(here.workspace, models, options, ready=lambda serving: show_serving(serving, here.output))
    raise typer.Exit(int(code))
