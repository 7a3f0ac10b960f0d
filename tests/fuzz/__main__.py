"""python -m tests.fuzz [--seconds 60] [--first SEED] [TARGET ...]: damaged files for every reader, until the time is over.

Each reader runs in a process of its own with a limit of memory; a case of more than 10 s of processor time counts as a hang.
The seed of each case that went wrong is printed with its error; --cases 1 --first SEED repeats it with the whole traceback.
Exit status 1 if any did.
"""

import argparse
import faulthandler
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.targets import TARGETS

LONGEST = 10  # seconds of processor time a case may take
MOST_DEATHS = 10  # of a reader's process, after which it is given up
MEMORY = 3 * 2**30  # bytes a reader may take beyond what the process has at the start


class HangError(BaseException):
    """A case took too long; not an Exception, so that no reader can take it for damage."""


def _hang(*_):
    raise HangError(f"more than {LONGEST} s")


def _work(name: str, folder: Path, first: int, count: int, seconds: float, whole: bool):
    """Run cases; the seed at work and what was found are written to files, so that a crash is known too."""
    from tests.fuzz.campaign import Victim

    faulthandler.enable()
    victim = Victim(name, folder)
    victim.damage(first)
    victim.read_valid()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _hang)
    until = time.process_time() + seconds
    with open(folder / "log.jsonl", "a", buffering=1) as log:
        for seed in range(first, first + count):
            if time.process_time() > until:
                break
            victim.damage(seed)
            log.write(json.dumps({"seed": seed}) + "\n")
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            try:
                error = victim.read()
                found = {"refused": error is not None, "message": error}
            except (Exception, HangError) as wrong:
                last = traceback.extract_tb(wrong.__traceback__)[-1]
                found = {"wrong": f"{type(wrong).__name__}: {str(wrong)[:200]} ({Path(last.filename).name}:{last.lineno})"}
                if whole:
                    traceback.print_exc()
            signal.setitimer(signal.ITIMER_PROF, 0)
            log.write(json.dumps({"seed": seed} | found) + "\n")


def fuzz(name: str, seconds: float, first: int, count: int) -> dict:
    """{'cases', 'refused', 'wrong': {error: [seeds]}} of one reader."""
    wrong, seed, last = {}, first, first + count
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        while seed < last:
            arguments = (name, folder, seed, last - seed, seconds, count == 1)
            process = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
            process.start()
            process.join()
            log = folder / "log.jsonl"
            rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            if process.exitcode == 0:
                break
            if not rows or len(rows[-1]) > 1:
                wrong["the process does not start"] = [seed]
                break
            seed = rows[-1]["seed"]
            deaths = wrong.setdefault(f"the process died with exit code {process.exitcode}", [])
            deaths.append(seed)
            seed += 1
            if len(deaths) == MOST_DEATHS:
                break
    results = [row for row in rows if len(row) > 1]
    for row in results:
        if "wrong" in row:
            wrong.setdefault(row["wrong"], []).append(row["seed"])
    return {"cases": len(results), "refused": sum(row.get("refused", False) for row in results), "wrong": wrong}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="of processor time, for each reader")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--cases", type=int, default=10**9, help="at most, for each reader")
    options = parser.parse_args()
    bad = False
    for name in options.targets or TARGETS:
        result = fuzz(name, options.seconds, options.first, options.cases)
        print(f"{name}: {result['cases']} damaged files, {result['refused']} refused", flush=True)
        for error, seeds in result["wrong"].items():
            bad = True
            print(f"  WRONG {len(seeds)} x {error}; seeds {seeds[:5]}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
