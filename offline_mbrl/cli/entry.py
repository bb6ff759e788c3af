"""Where the console script begins, so that Ctrl-C is one line even while the command line itself is imported."""

import sys


def main() -> None:
    """Imports the command line and runs it."""
    if sys.argv[1:] == ["--version"]:
        from offline_mbrl import __version__

        print(f"offline-mbrl {__version__}")
        return
    try:
        from offline_mbrl.cli.app import main as run
    except KeyboardInterrupt:
        print("stopped by SIGINT; give the same command again to go on", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
