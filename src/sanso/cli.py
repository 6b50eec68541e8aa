"""The verbs' common frame: options, errors, exit codes."""

from __future__ import annotations

import traceback

import click

from sanso import console
from sanso.console import Failure
from sanso.options import InOrder
from sanso.project import new_log, relative, version
from sanso.verbs.audit import audit
from sanso.verbs.check import check
from sanso.verbs.deploy import deploy
from sanso.verbs.doctor import doctor
from sanso.verbs.down import down
from sanso.verbs.init import init
from sanso.verbs.lab import lab
from sanso.verbs.logs import logs
from sanso.verbs.releases import releases
from sanso.verbs.rollback import rollback
from sanso.verbs.run import run
from sanso.verbs.ssh import ssh
from sanso.verbs.status import status
from sanso.verbs.test import test
from sanso.verbs.trace import trace
from sanso.verbs.up import up


class Sanso(InOrder):
    """All verbs, in one frame."""

    def invoke(self, ctx):
        """Run the verb; what goes wrong becomes a message and an exit code, here and nowhere else."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            failure.show()
            console.result({"error": failure.message, "evidence": failure.evidence, "next": failure.next_step})
            ctx.exit(failure.code)
        except KeyboardInterrupt:
            Failure("interrupted", next_step="the same command again goes on where this one was").show()
            ctx.exit(console.FAILED)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:  # ours to mend: nobody should have to read a traceback to go on
            log = new_log("error")
            log.write_text(traceback.format_exc())
            what = str(error) or type(error).__name__
            Failure(f"unexpected: {what}", log=relative(log), next_step="please report it, with that log").show()
            ctx.exit(console.FAILED)


@click.group(cls=Sanso, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="sanso", message="%(prog)s %(version)s")
def main():
    """Build a three-tier web server layer by layer, and prove it.

    Exit codes: 0 done, 1 failed, 2 usage, 3 could not check.
    """
    console.speak_json(False)


for verb in (
    init,
    up,
    deploy,
    rollback,
    releases,
    run,
    status,
    check,
    doctor,
    audit,
    trace,
    logs,
    ssh,
    down,
    test,
    lab,
):
    main.add_command(verb)
