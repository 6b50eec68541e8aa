"""python -m sanso: what the launcher starts."""

import signal

from sanso.cli import main


def stop(number, frame):
    """End like after Ctrl-C: children are ended, and machines of tests removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    main(prog_name="./sanso")
