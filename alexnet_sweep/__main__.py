"""`python -m alexnet_sweep`: one run, or with -m a sweep. Help is answered before anything heavy is imported."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = """\
Which part of AlexNet matters, and by how much: Hydra config groups composed into training jobs.

  python -m alexnet_sweep [OVERRIDE…]          train one run of the composed config
  python -m alexnet_sweep -m KEY=A,B […]       sweep a grid (Hydra's multirun), then write its report
  python -m alexnet_sweep -m study=NAME […]    carry out a study of sweeps/, or of a file of your own
  python -m alexnet_sweep.plan ARGS            what a sweep would do, and how long it would take
  python -m alexnet_sweep --cfg job [OVERRIDE…]  show the composed config
  python -m alexnet_sweep.status [STUDY]       a live table of a study, from its files
  python -m alexnet_sweep.report STUDY         rebuild a report from run folders
  python -m alexnet_sweep.compare A B          what changed between two studies
  python -m alexnet_sweep.inspect RUN          a trained run from inside: kernels, answers, nearest images
  python -m alexnet_sweep.evaluate RUN [OVERRIDE…]  errors of a trained run on any split, by one view and by all
  python -m alexnet_sweep.export RUN --onnx FILE  a trained run for other programs, checked against this one
  python -m alexnet_sweep.clean [STUDY]        what can go; --yes deletes it
  python -m alexnet_sweep.data info|prepare [OVERRIDE…]  what is in a data set; packs it ahead of time
  python -m alexnet_sweep.summary [OVERRIDE…]  the composed network, layer by layer
  python -m alexnet_sweep.bench [ROW…]         how fast this machine is at it, as ratios

example: python -m alexnet_sweep -m model/lrn=on,off seed=0,1,2

An override picks an option of a group (model/lrn=off) or sets a key (trainer.epochs=20).
"""
VERBS = {
    "bench": "alexnet_sweep.bench.__main__",
    "clean": "alexnet_sweep.clean",
    "compare": "alexnet_sweep.compare",
    "data": "alexnet_sweep.data.__main__",
    "evaluate": "alexnet_sweep.evaluate",
    "export": "alexnet_sweep.export",
    "inspect": "alexnet_sweep.inspect.__main__",
    "plan": "alexnet_sweep.plan",
    "report": "alexnet_sweep.report.__main__",
    "status": "alexnet_sweep.status",
    "summary": "alexnet_sweep.summary",
}


def main() -> int:
    """Exit code 0 if what was asked is done; 1 where a run failed, 2 for a mistake in what was typed."""
    from alexnet_sweep.terminal import ready

    ready()
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        from alexnet_sweep.arguments import refused

        return refused("the folder that you are in has been deleted; change to another")
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: parts of the user's own may lie here
    arguments = sys.argv[1:]
    try:
        return _answer(arguments)
    except KeyboardInterrupt:  # while it was still being imported
        from alexnet_sweep.arguments import stopped

        return stopped()


def _answer(arguments: Sequence[str]) -> int:
    from alexnet_sweep.terminal import show

    if arguments and arguments[0] in VERBS:
        verb: int = importlib.import_module(VERBS[arguments[0]]).main(arguments[1:])
        return verb
    if any(argument in ("--help", "-h") for argument in arguments):
        show((HELP + _groups(arguments)).rstrip("\n"))
        return 0
    from alexnet_sweep.cli import answer

    return answer(arguments)


def _groups(arguments: Sequence[str]) -> str:
    from alexnet_sweep.groups import options, own_folder

    lines = [f"  {group:<26} {', '.join(names)}" for group, names in options(own_folder(arguments)).items()]
    return "\nGroups and their options:\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
