"""What several verbs take."""

from __future__ import annotations

from pathlib import Path

import click

from sanso import console
from sanso.project import ROOT


class Existing(click.Path):
    """A path given from where the person is, or from the checkout (a launcher runs from any folder)."""

    def convert(self, value, param, ctx):
        here = Path(value)
        return Path(super().convert(here if here.exists() else ROOT / value, param, ctx)).resolve()


class InOrder(click.Group):
    """A group whose verbs are listed in the order in which people meet them."""

    def list_commands(self, ctx):
        return list(self.commands)


class WithRest(click.Command):
    """A command that keeps the words after `--` apart, in ctx.meta["rest"], for the program that it runs."""

    def parse_args(self, ctx, args):
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["rest"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx):
        return [*super().collect_usage_pieces(ctx), f"[-- {self.rest}…]"]

    def __init__(self, *args, rest="WORD", **options):
        super().__init__(*args, **options)
        self.rest = rest


inventory = click.option(
    "-i", "--inventory", "path", type=Existing(exists=True), help="Another inventory than inventory/local."
)
verbose = click.option("-v", "--verbose", is_flag=True, help="Stream what Ansible or the tests say.")
as_json = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=lambda ctx, param, value: console.speak_json(value),
    help="The result as JSON on stdout; messages go to stderr.",
)
