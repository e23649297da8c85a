"""What comes in the middle of a function: a signal handler, or what a garbage collection lets go."""

import sys
from collections.abc import Callable, Iterator
from types import CodeType


def at_each_place(code: CodeType) -> Iterator[Callable[[Callable[[], object], Callable[[], object]], None]]:
    """Once for each instruction that runs in `code`: call what is given with what runs it, and what comes just before
    that instruction. It is over when all have had their turn."""
    place, has_come = 0, True
    while has_come:
        has_come = False

        def run(call: Callable[[], object], interrupt: Callable[[], object], place: int = place) -> None:
            passed = 0

            def trace(frame, event, _):
                nonlocal passed, has_come
                if frame.f_code is not code or has_come:
                    return None
                frame.f_trace_opcodes = True
                if event == "opcode":
                    passed += 1
                    if passed > place:
                        has_come = True
                        interrupt()
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                call()
            finally:
                sys.settrace(before)

        yield run
        place += 1
