"""A group whose commands are imported only when they run, and the options that every command takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
import typer.core

from mlops_cli.cli.table import COMMANDS, Row, help_text


class Mlo(typer.core.TyperGroup):
    """Holds a stub for each row of the table; the stub gives way to the real command when it is resolved.

    Typer brings a Click of its own and wants a TyperGroup, so Click's recipe for lazy groups does not fit.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.params.extend(common_options())  # `mlo -C DIR run` is as good as `mlo run -C DIR`
        _spare_pydantic(self)
        for row in COMMANDS:
            self.commands[row.name] = typer.core.TyperCommand(row.name, help=row.summary, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        row = next((row for row in COMMANDS if args and row.name == args[0]), None)
        if row is not None:
            self.commands[row.name] = load_command(row)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_text())


def load_command(row: Row) -> Any:
    """Import the module of a row and build its command (a command, or a group of them)."""
    command: Any = typer.main.get_command(import_module(row.module).app)
    command.name = row.name
    equip(command)
    return command


def equip(command: Any) -> None:
    """Give every command below `command` the options that all of mlo's commands take."""
    if isinstance(command, typer.core.TyperGroup):
        for inner in command.commands.values():
            equip(inner)
    else:
        taken = {name for parameter in command.params for name in parameter.opts}
        command.params.extend(option for option in common_options() if not taken & set(option.opts))
    _spare_pydantic(command)


class _Plain:
    """How a word or a path comes out of the command line: as it is."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        return [self._make(item) for item in value] if many else self._make(value)


_PLAIN: dict[Any, _Plain] = {
    bool: _Plain(bool),
    str: _Plain(str),
    list[str]: _Plain(str),
    Path: _Plain(Path),
    list[Path]: _Plain(Path),
}


def _spare_pydantic(command: Any) -> None:
    """Typer gives every value to pydantic, whose import takes longer than most commands; words and paths need none.

    The attribute is Typer's own place for what coerces a value. Where a Typer has it no more, pydantic does the work.
    """
    make_help_option = command.get_help_option

    def help_option(ctx: Any) -> Any:
        option = make_help_option(ctx)
        _keep_plain(option)
        return option

    command.get_help_option = help_option
    for parameter in command.params:
        _keep_plain(parameter)


def _keep_plain(parameter: Any) -> None:
    descriptor: Any = getattr(parameter, "type_descriptor", None)
    plain = _PLAIN.get(descriptor.annotation) if descriptor is not None else None
    if plain is None or getattr(parameter, "_runtime_param", ...) is not None:
        return
    info = descriptor.parameter_info
    if not (info.exists or info.resolve_path or info.allow_dash or info.path_type or info.parser):
        parameter._runtime_param = plain


@functools.cache
def common_options() -> tuple[Any, ...]:
    """The options every command takes. They are kept in the Session, not passed to the command's function."""

    def keep(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        if value and ctx.obj is not None:  # there is no session while a shell asks for completions
            setattr(ctx.obj, str(param.name), value)
        return value

    def common(
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object.", callback=keep, expose_value=False),
        quiet: bool = typer.Option(
            False, "--quiet", "-q", help="Print errors only.", callback=keep, expose_value=False
        ),
        debug: bool = typer.Option(False, "--debug", help="Show tracebacks.", callback=keep, expose_value=False),
        environment: str = typer.Option(
            "", "--env", metavar="NAME", help="Lay mlo.NAME.yaml over mlo.yaml.", callback=keep, expose_value=False
        ),
        folder: str = typer.Option(
            "", "-C", metavar="DIR", help="Run as if started in DIR.", callback=keep, expose_value=False
        ),
    ) -> None: ...

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(common)
    return tuple(param for param in typer.main.get_command(app).params if param.name != "help")


def make_app(summary: str) -> typer.Typer:
    """A Typer app as every command module makes it: plain help, no completion options of its own."""
    return typer.Typer(
        help=summary, add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False
    )
