"""`mlo --help` beside `dvc --help` and `mlflow --help`. Budget: at most half of DVC's time."""

from __future__ import annotations

from harness import Contender, alternate, header, mlo, peer, run, show


def main() -> None:
    dvc = peer("dvc", "dvc") / "dvc"
    mlflow = peer("mlflow", "mlflow") / "mlflow"
    ours, theirs, other = alternate(
        [
            Contender("mlo", lambda: run(mlo(), "--help")),
            Contender("DVC", lambda: run(dvc, "--help")),
            Contender("MLflow", lambda: run(mlflow, "--help")),
        ],
        repeats=11,
    )
    header()
    show("`--help`", ours, theirs, "2 x")
    show("`--help`", ours, other, "")


if __name__ == "__main__":
    main()
