"""The commands of the command line: tyro only parses, they are called afterwards, and its frames become one line."""

import contextlib
import inspect
import io
import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Annotated, Any, TypeVar, get_args, get_origin, overload

import tyro
from tyro.conf import arg

from offline_mbrl.errors import UserError

Function = TypeVar("Function", bound=Callable[..., None])

FRAME = re.compile(r"[-─+╭╮╰╯]*")
"""A line of the frame that has no words in it."""

HELP = re.compile(r"For full helptext, (?:run:?|see) (.*?--help)")
HINT = re.compile(r"Perhaps you meant: (\S+).*")
LONGEST = 300
"""Characters of a message that may quote what was given."""


class Commands:
    """Functions as commands, which the parser hands back, ready to be called, instead of calling them itself."""

    def __init__(self, description: str = "") -> None:
        self._app = tyro.extras.SubcommandApp()
        self._app.__doc__ = description

    @overload
    def command(self, function: Function) -> Function: ...

    @overload
    def command(self, *, name: str) -> Callable[[Function], Function]: ...

    def command(self, function: Callable[..., None] | None = None, *, name: str | None = None) -> Any:
        """Registers a function under its own name or, as `@app.command(name=...)`, another one."""
        if function is None:
            return partial(self.command, name=name)
        self._app.command(name=name or function.__name__, help=_description(function))(_postponed(function))
        return function

    def group(self, name: str, commands: "Commands") -> None:
        """Registers other commands below the word `name`."""
        self._app.command(commands._app, name=name)

    def parse(self, prog: str, description: str) -> Callable[[], int | None]:
        """What the arguments of this process ask for.

        Raises:
          UserError: they are not understood.
          SystemExit: they ask for help, which was printed.
        """
        box = io.StringIO()
        try:
            with contextlib.redirect_stderr(box):
                return self._app.cli(prog=prog, description=description)
        except SystemExit as end:
            if end.code:
                raise UserError(_one_line(box.getvalue(), prog)) from None
            raise


def _description(command: Callable[..., None]) -> str:
    """What help says of a command: its docstring without its arguments, each blank line once."""
    text = inspect.cleandoc(command.__doc__ or "").partition("\nArgs:\n")[0]
    return re.sub(r"\n\n+(?= )", "\n", text.strip())


def _postponed(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    @wraps(command)
    def bind(*args: Any, **options: Any) -> Callable[[], None]:
        return partial(command, *args, **options)

    signature = inspect.signature(command, eval_str=True)
    parameters = [_plainly(parameter) for parameter in signature.parameters.values()]
    named = {parameter.name: parameter.annotation for parameter in parameters}
    setattr(bind, "__signature__", signature.replace(parameters=parameters))  # noqa: B010, functions have no such name
    bind.__annotations__ = named | {"return": Callable[[], None]}
    del bind.__wrapped__
    return bind


def _plainly(parameter: inspect.Parameter) -> inspect.Parameter:
    """One that may be absent, and is by default, is shown as its type alone, without `None`."""
    kinds = [kind for kind in get_args(_bare(parameter.annotation)) if kind is not type(None)]
    is_named = any(getattr(mark, "metavar", None) for mark in get_args(parameter.annotation)[1:])
    if parameter.default is not None or len(kinds) != 1 or is_named:
        return parameter
    choices = get_args(kinds[0])
    shown = f"{{{','.join(map(str, choices))}}}" if choices else kinds[0].__name__.upper()
    return parameter.replace(annotation=Annotated[parameter.annotation, arg(metavar=shown, help_behavior_hint="")])


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _one_line(box: str, prog: str) -> str:
    """What tyro says in a frame: its first paragraph, what it suggests, and where help is."""
    lines = [line.strip(" |│") for line in box.splitlines()[1:]]  # the first has the frame's title
    text = "\n".join("" if FRAME.fullmatch(line) else line for line in lines)
    what, *others = (" ".join(part.split()) for part in re.split(r"\n{2,}", text.strip()))
    hints = [HINT.sub(r"did you mean \1?", part) for part in others if part.startswith(("Perhaps", "Available"))]
    help_command = HELP.search(others[-1] if others else what)
    where = f"see {help_command[1] if help_command else f'{prog} --help'}"
    return "; ".join([f"{what[:1].lower()}{what[1:LONGEST].rstrip('.')}", *hints, where])
