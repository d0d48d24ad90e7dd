"""One question to regopy, in a process of its own: a policy is a stranger's program.

    python rego_child.py < QUESTION.json

The question: {"modules": {NAME: TEXT}, "data": {…}, "input": {…}, "query": "data.policy.NAME"}.
The answer, one line of JSON: {"value": …}, {"undefined": true} or {"error": "…"}. It imports
nothing of ours, so that it starts in no time.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time

MAX_SECONDS = 20  # of the processor's time; a start under the guest's rules takes 0.1
MAX_MEMORY_BYTES = 2 * 1024**3  # such a start takes 60 MB
MAX_ANSWER_CHARS = 4 * 1024 * 1024  # an answer holds at most what was asked, and changes
_LOOK_SECONDS = 0.02
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Answer what stands on stdin, on what was stdout; regopy prints there as well."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    threading.Thread(target=_watch_memory, daemon=True).start()
    told = json.dumps(_answer(json.load(sys.stdin)))
    answers.write(told if len(told) <= MAX_ANSWER_CHARS else '{"error": "a longer answer"}')
    answers.close()


def _watch_memory() -> None:
    """Give up in time. No limit of the system does it: the engine's allocator reserves terabytes
    of addresses first, and the engine works without the interpreter's lock."""
    while True:
        with open("/proc/self/statm", "rb") as pages:  # noqa: PTH123 - without pathlib
            if int(pages.read().split()[1]) * _PAGE_BYTES > MAX_MEMORY_BYTES:
                os._exit(1)
        time.sleep(_LOOK_SECONDS)


def _answer(question: dict[str, object]) -> dict[str, object]:
    import regopy

    try:
        asked = regopy.Interpreter()
        for name, text in question["modules"].items():  # type: ignore[attr-defined]
            asked.add_module(name, text)
        asked.add_data(question["data"])
        asked.set_input(question["input"])
        output = asked.query(question["query"])
        if not output.ok():
            return {"error": str(output)}
        found = output.results[0].expressions if output.results else []
        return {"value": found[0]} if found else {"undefined": True}
    except (regopy.RegoError, ValueError, TypeError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
