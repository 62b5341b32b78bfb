"""What a person sees while a sweep runs: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from bnsweep.records import DIVERGED, FAILED

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0
"""Between two lines where there is no terminal."""
NOTEBOOK_SECONDS, BAR = 0.5, 30
"""Between two looks of a bar in a notebook, and its length."""


class Progress:
    """Runs done, left, diverged and failed, with the time that is left. Work is counted in steps of runs."""

    def __init__(self, stacks: dict[int, tuple[int, int]], begun: Mapping[int, int] = MappingProxyType({})) -> None:
        """`stacks`: a name for each stack -> its runs and their steps. `begun`: the step that some go on from."""
        # A run that trains nothing is some work, too.
        self.stacks = {name: (runs, max(1, steps)) for name, (runs, steps) in stacks.items()}
        self.runs = sum(runs for runs, _ in stacks.values())
        self.work = float(sum(runs * steps for runs, steps in self.stacks.values()))
        self.ended = Counter[str]()
        self._done = {name: runs * begun.get(name, 0) for name, (runs, _) in stacks.items()}
        self._given = sum(self._done.values())
        self._thinned = 0
        """Work of runs that were taken out of their stacks."""
        self._diverged = dict.fromkeys(stacks, 0)
        self._started = self._last = time.monotonic()
        self._rich: RichProgress | None = None
        self._display: Any = None

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        self._display = notebook_display(self.line())
        console = Console(stderr=True)
        if self._display is None and console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("gone, left"))
            self._rich = Rich(*columns, TimeRemainingColumn(), console=console)
            self._task = self._rich.add_task(self.line(), total=self.work)
            self._rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._rich is not None:
            self._rich.stop()

    def line(self) -> str:
        done = sum(self.ended.values())
        diverged = self.ended[DIVERGED] + sum(self._diverged.values())
        return f"{done} done, {self.runs - done} left, {diverged} diverged, {self.ended[FAILED]} failed"

    def advance(self, stack: int, step: int, diverged: int) -> None:
        """A stack has taken `step` steps; `diverged` of its runs have diverged."""
        runs, _ = self.stacks[stack]
        self._done[stack], self._diverged[stack] = runs * step, diverged
        self._show(force=False)

    def divide(self, stack: int, parts: dict[int, int]) -> None:
        """A stack failed and is trained again in parts: name -> runs."""
        _, steps = self.stacks.pop(stack)
        for counts in (self._done, self._diverged):
            del counts[stack]
            counts.update(dict.fromkeys(parts, 0))
        self.stacks |= {name: (runs, steps) for name, runs in parts.items()}

    def thin(self, stack: int, name: int, runs: int, step: int) -> None:
        """`runs` of a stack go on from that step as one of that `name`; the others are over."""
        whole, steps = self.stacks.pop(stack)
        for counts in (self._done, self._diverged):
            del counts[stack]
        self._thinned += (whole - runs) * steps
        self.stacks[name], self._done[name], self._diverged[name] = (runs, steps), runs * step, 0

    def end(self, status: str) -> None:
        """One more run is over and logged."""
        self.ended[status] += 1

    def settle(self, stack: int) -> None:
        """A stack is over: its diverged runs are counted among the ended ones from now on."""
        runs, steps = self.stacks[stack]
        self._done[stack], self._diverged[stack] = runs * steps, 0
        self._show(force=sum(self.ended.values()) >= self.runs)

    def _show(self, force: bool) -> None:
        done = sum(self._done.values()) + self._thinned
        if self._rich is not None:
            self._rich.update(self._task, completed=done, description=self.line())
            return
        now = time.monotonic()
        if force or now - self._last >= (PLAIN_SECONDS if self._display is None else NOTEBOOK_SECONDS):
            self._last = now
            elapsed = now - self._started
            gained = done - self._given
            eta = f"{max(0, elapsed * (self.work - done) / gained):.0f}" if gained > 0 else "?"
            text = f"{self.line()}; {elapsed:.0f} s gone, about {eta} s to go"
            if self._display is None:
                print(text, flush=True)
            else:
                share = round(BAR * done / self.work)
                self._display.update(Text(f"{'█' * share}{'░' * (BAR - share)} {text}"))


class Text:
    """What a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def notebook_display(text: str) -> Any:
    """A place in the output of a notebook's cell that can be written anew; None where this is no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display(Text(text), display_id=True)
