"""Write the completion files for bash, zsh and fish beside this script."""

from pathlib import Path

from typer.completion import get_completion_script

from mlops_cli.cli.table import COMPLETE_VARIABLE

FILES = {"bash": "mlo.bash", "zsh": "_mlo", "fish": "mlo.fish"}


def script(shell: str) -> str:
    return get_completion_script(prog_name="mlo", complete_var=COMPLETE_VARIABLE, shell=shell).strip() + "\n"


if __name__ == "__main__":
    for shell, name in FILES.items():
        (Path(__file__).parent / name).write_text(script(shell))
