# SPDX-License-Identifier: MIT
"""`trueboot board`: what goes onto boards."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, group

app = group("What goes onto boards that run MicroPython.")


@app.command("index")
def board_index(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder; any web server may serve it.")],
    hardware: Annotated[str, typer.Option(help="Hardware that the example is made for.")] = "sim",
    json: JsonOption = False,
) -> None:
    """Write an index for `mpremote mip install --index URL --target / trueboot`: trampoline and agent, as .mpy."""
    from . import __version__
    from .mip import write_index
    from .mpy import MpyError
    from .problem import Problem
    from .tables import show_facts, show_json

    if folder.exists() and any(folder.iterdir()):
        raise Problem("file_unusable", f"{folder} is not empty.", todo="Choose another folder.")
    try:
        facts = write_index(folder, hardware, __version__)
    except MpyError as error:
        raise Problem("extra_missing", "This needs the extra [sim].", str(error)) from None
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be written.", error.strerror or str(error)) from None
    show_json(facts) if json else show_facts(facts.items())
