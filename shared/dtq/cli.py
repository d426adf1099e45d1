"""The command ``dtq``.

Each command imports what it needs when it runs: ``dtq config`` loads neither drivers nor migrations.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from dtq import __version__
from dtq.apikeys import NAME, ROLES, ApiKey, new_key
from dtq.config import load_settings
from dtq.errors import ConfigError, Unavailable
from dtq.show_config import FORMATS, show

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a wrong setting or argument, 1 for a server that is away."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        _complain(str(error))
        return 2
    except Unavailable as error:
        _complain(" ".join(str(error).split()))  # drivers write several lines
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtq", description="DTQ, a distributed task queue. Settings are environment variables; see `dtq config`."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command)
        return added

    add("up", _up, "Run all of DTQ on this machine until Ctrl-C.")
    config = add("config", _config, "Show every setting: its value, default and meaning. Passwords are hidden.")
    config.add_argument("--format", choices=FORMATS, default="text", help="how to show it (%(default)s)")
    migrate = add(
        "migrate", _migrate, "Bring the database at DATABASEURL to the present schema. Safe to run at any time, by several at once."
    )
    migrate.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="time the server has to come up (%(default)s)")
    apikey = add("apikey", _apikey, "Make an API key: prints it (once), and the line for the file that APIKEYSFILE names.")
    apikey.add_argument("--role", choices=ROLES, default="submit", help="what it may do, each including those before it (%(default)s)")
    apikey.add_argument("--name", default="default", type=_key_name, help="whose key it is, for the log (%(default)s)")
    add("version", _version, "Show the version.")
    return parser


def _up(_options: argparse.Namespace) -> int:
    if importlib.util.find_spec("dtq_standalone") is None:
        raise ConfigError("`dtq up` needs the package dtq-standalone; install it")
    _become([sys.executable, "-m", "dtq_standalone"])


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell, our own module


def _config(options: argparse.Namespace) -> int:
    _say(show(load_settings(), options.format))
    return 0


def _migrate(options: argparse.Namespace) -> int:
    from dtq.storage.migrate import migrate, wait_for_server

    dsn = load_settings().databaseurl
    if threading.current_thread() is threading.main_thread():
        # As process 1 of a container it would not be ended by a signal that it does not handle.
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if options.wait > 0:
        wait_for_server(dsn, options.wait, _complain)
    present = migrate(dsn)
    _say("the database has the present schema" if present else "the database has the schema of a newer version, which stays")
    return 0


def _apikey(options: argparse.Namespace) -> int:
    key, digest = new_key()
    # The line alone goes to standard output, so that `dtq apikey >> keys` works.
    print(f"The key, shown this once: {key}", file=sys.stderr)  # noqa: T201 - a command's output
    print("The line for the file that APIKEYSFILE names:", file=sys.stderr, flush=True)  # noqa: T201 - likewise
    _say(str(ApiKey(options.name, options.role, digest)))
    return 0


def _version(_options: argparse.Namespace) -> int:
    _say(f"dtq {__version__}")
    return 0


def _key_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise argparse.ArgumentTypeError("use letters, digits and . _ @ - only, at most 64")
    return value


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's output


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"dtq: {line}", file=sys.stderr)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main())
