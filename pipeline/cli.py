"""The command line: verbs, exit codes, one sentence for what went wrong.

Exit codes: 0 done, 1 something failed (named), 2 bad input, 3 over a cap, 130 interrupted (state saved).
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline import __version__, fitting
from pipeline.errors import BadInput, ClusterLost, OverBudget, nearest

VERBS = {
    "prepare": "source -> verified WebDataset shards and a manifest; resumable",
    "plan": "the priced plan: trials, segments, FLOPs with and without sharing; launches nothing",
    "run": "prepare if needed, execute, fit, report; the same command continues",
    "train": "one trial or a few, here in this process, without Ray",
    "status": "studies in the store, what is done, running, left",
    "why": "TRIAL: what makes it differ from its nearest recorded neighbour",
    "logs": "TRIAL: the log of a failed trial",
    "fit": "laws and crossovers from what is recorded, or of any table: crossover fit FILE --help",
    "next": "budget=FLOPS: the trials that would narrow the crossover most",
    "report": "the page from what is recorded",
    "export": "trials as CSV and Parquet, tables as LaTeX, figures as SVG and PNG",
    "convert": "SOURCE TARGET: weights of a file or of a trial into another program's layout",
}
EPILOG = """overrides are Hydra's: study=quickstart, arch=vit_nano,resnet_nano, recipe.lr=1e-3,3e-3, study.seeds=[0,1],
placement.store=FOLDER_OR_URL, track=off. Presets: study, arch, recipe, data, transfer, placement,
device, track.

examples:
  crossover run study=quickstart
  crossover plan study=cifar10 data.cifar10.path=cifar10.tar.gz
  crossover plan study=paper_table6
  crossover train arch=vit_nano data=fractal study.data=fractal study.budgets=[8192]
  crossover next study=quickstart budget=1e14
  crossover status
  crossover fit runs.csv --x flops --y loss --group family
  crossover convert B_16.npz vit_b16.safetensors arch=vit_b16 --to timm
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if "required: VERB" in message:
            message = f"name a verb, one of {', '.join(VERBS)}"
        raise BadInput(f"{message[0].upper()}{message[1:]}: see `crossover --help`.")


def _parser() -> _Parser:
    parser = _Parser(
        prog="crossover",
        description="At what data and compute does a ViT overtake a CNN, and how sure are we?",
        epilog="verbs:\n" + "\n".join(f"  {v:9}{text}" for v, text in VERBS.items()) + "\n\n" + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", metavar="VERB", help="one of the verbs below")
    parser.add_argument("words", nargs="*", metavar="key=value", help="overrides; TRIAL first for why and logs")
    parser.add_argument("--version", action="version", version=f"crossover {__version__}")
    parser.add_argument("--conf", type=Path, metavar="DIR", help="folder of your own presets (study/, arch/, ...)")
    parser.add_argument("--cfg", action="store_true", help="print the composed config and stop")
    parser.add_argument("--json", action="store_true", help="plan, status, why, fit, next: machine-readable output")
    parser.add_argument("--rows", action="store_true", help="plan: each pre-training by itself, however many")
    parser.add_argument("--verify", action="store_true", help="prepare: check every shard, digest and image")
    parser.add_argument("--bench", action="store_true", help="prepare: images/s per core, cores needed per device")
    parser.add_argument("--out", type=Path, metavar="DIR", help="export: folder (default: ./export/STUDY)")
    _convert_options(parser)
    return parser


def _convert_options(parser: _Parser) -> None:
    layouts = "original, augreg, big_vision, big_vision_scanned, bit, timm or crossover"
    parser.add_argument("--to", metavar="LAYOUT", help=f"convert: {layouts} (default: by TARGET's suffix and the arch)")
    parser.add_argument("--image-size", type=int, metavar="N", help="convert: interpolate position embeddings to it")
    parser.add_argument("--grid", metavar="RxC", help="convert: the same, to any rows x columns of tokens")
    parser.add_argument("--source-grid", metavar="RxC", help="convert: rows x columns of SOURCE's tokens, if no square")
    parser.add_argument("--classes", type=int, metavar="K", help="convert: classes of the head (default: the source's)")
    parser.add_argument("--head", default="keep", metavar="keep|zero", help="convert: the head as it is, or a new one")


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] == ["fit"] and fitting.is_of_table(words[1:]):
            return fitting.fit(words[1:])
        arguments = _parser().parse_intermixed_args(words)
        if arguments.verb not in VERBS:
            raise BadInput(f"There is no verb {arguments.verb!r}: {nearest(arguments.verb, VERBS)}")
        return _dispatch(arguments)
    except BadInput as error:
        return _say(str(error), 2)
    except OverBudget as error:
        return _say(str(error), 3)
    except ClusterLost as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one must not end in a traceback
        return _say("Interrupted; the same command continues.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say(f"No space is left ({error.filename or error}): free some; the same command continues.", 1)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return _say(f"{error.filename or error} cannot be used ({error.strerror}): mend its rights.", 2)
        code = 2 if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP) else 1
        where = f"{error.filename} cannot be used" if error.filename else "The system refused"
        return _say(f"{where} ({error.strerror or error}): mend that, and the same command continues.", code)


def _dispatch(arguments: argparse.Namespace) -> int:
    from pipeline import commands, convert, lookup

    home = next(m for m in (lookup, commands, convert) if hasattr(m, arguments.verb))
    verb: Callable[[Any], int] = getattr(home, arguments.verb)
    return verb(arguments)


def _say(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code
