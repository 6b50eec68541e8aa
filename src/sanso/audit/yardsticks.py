"""The aims: what each yardstick should show, and where that number comes from."""

from __future__ import annotations

from dataclasses import dataclass

from sanso.audit.model import Figure


@dataclass(frozen=True)
class Aim:
    """most: the figure may be no more than that, otherwise no less.

    counts: the figure is the number of findings, each of which is judged (and waived) by itself.
    """

    value: float
    most: bool = True
    counts: bool = False
    why: str = ""

    def met(self, value: float) -> bool:
        return value <= self.value if self.most else value >= self.value

    def is_worse(self, value: float, than: float) -> bool:
        return value > than if self.most else value < than

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.value:g}" if self.value else "0"


NETWORKED = " with the network"  # at the end of the name of a unit that may use it
AIMS = {
    "lynis": Aim(90, most=False, why="of 100. Untouched servers have about 61, well-known hardening roles 73 to 77"),
    "exposure:nginx": Aim(1.5, why="of 10. It talks to the network and reads a key"),
    "exposure:mysql": Aim(0.5, why="of 10. It talks to local sockets alone"),
    "exposure:app": Aim(0.5, why="of 10. It gets its socket handed over, and calls nobody"),
    "exposure:app with the network": Aim(1.2, why="of 10. It calls others, as its description says it must"),
    "ssh-audit:fail": Aim(0, counts=True, why="an algorithm that is broken, or may be"),
    "ssh-audit:warn": Aim(0, counts=True, why="an algorithm that is weak"),
    "sslyze": Aim(0, counts=True, why="Mozilla's recommendation, of which nothing is left out"),
    "testssl": Aim(2, why="a CA of one's own has no revocation list to name, which is one of them"),
    "ports": Aim(0, counts=True, why="those that the firewall's variables name, and SSH"),
}


def aim_of(figure: Figure) -> Aim:
    if not figure.key.startswith("exposure:app-"):
        return AIMS[figure.key]
    return AIMS[f"exposure:app{NETWORKED if figure.key.endswith(NETWORKED) else ''}"]
