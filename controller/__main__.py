"""``faultline-controller``: run a cluster's controller, or check its configuration.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from controller import VERSION
from controller.access import own_keys
from controller.app import check_files, run
from controller.clock import rehearsal, utc
from controller.config import ConfigError, load_config
from controller.errors import ControllerError

DEFAULT = Path("/etc/faultline/controller.toml")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="faultline-controller", description="Gathers what agents see and names the failure domain.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "run until SIGTERM"),
        ("check-config", "check the configuration and the files that it names, and say what is wrong"),
        ("keys", "make the controller's key pair if there is none, and print where its public key is"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, default=DEFAULT, help=f"default {DEFAULT}")
        if name == "run":
            command.add_argument("--rehearse", metavar="TIME@SPEED", help="a clock for rehearsing recorded journals; never in production")
    chosen = parser.parse_args(arguments)
    clock = utc
    if chosen.command == "run" and chosen.rehearse:
        try:
            clock = rehearsal(chosen.rehearse)
        except ValueError as error:
            parser.error(f"--rehearse: {error}")
    try:
        config = load_config(chosen.config)
        if chosen.command == "run":
            return run(config, clock)
        if chosen.command == "keys":
            own_keys(config.ingest.key_dir, "controller")
            print(config.ingest.key_dir / "controller.key")
        else:
            check_files(config)
            print(f"{chosen.config}: ok")
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 3
    except ControllerError as error:
        print(f"faultline-controller: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
