"""What clients that know nothing of us see through HAProxy in TCP mode: a planned change and a lost primary."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # `python bench/haproxy.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from bench import _gates
from understudy.demo import gates
from understudy.demo.lab import MANUAL, Lab
from understudy.model import Rpo


def measure(arguments: argparse.Namespace) -> common.Result:
    changes, losses = [], []
    with (
        Lab(mode=Rpo(arguments.mode), scale=arguments.scale, policy=MANUAL, say=common.say) as lab,
        gates.haproxy(lab) as gate,
    ):
        with _gates.writers(lab, gates.at_port(lab, gate.port)) as load:
            for number in range(arguments.repeat):
                changes.append(_gates.planned(lab, load))
                losses.append(_gates.lost(lab, load))
                common.say(f"{number + 1} of {arguments.repeat}: {changes[-1]}; killed: {losses[-1]}")
        found = _gates.figures(lab, load, changes, losses)
    return found | {"mode": arguments.mode}


def main() -> int:
    parser = common.options("haproxy")
    parser.add_argument("--mode", choices=[mode.value for mode in Rpo], default=Rpo.BOUNDED.value)
    return common.finish("haproxy", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
