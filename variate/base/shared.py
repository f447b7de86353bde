"""What all threads of a process share: settings (the first block in sets, the last one out puts back, incompatible ones
wait) and locks, none of which is left held in a forked child."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

__all__ = ["Shared", "lock"]

V = TypeVar("V")


def lock() -> threading.Lock:
    """A lock that is free in every forked child: what it guards is never forked half-done."""
    made = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=made.acquire, after_in_parent=made.release, after_in_child=made.release)
    return made


class _Hold(Generic[V]):
    """One block's part in a setting; a block that waits for another one inside it gives it up meanwhile."""

    def __init__(self, value: V):
        self.value, self.is_held = value, False


class Shared(Generic[V]):
    """A setting of the process, of which blocks in several threads want the same value at the same time.

    ``put(value)`` sets it and returns what puts back what was before. Blocks that want another value wait for their
    turn, in the order in which they came. Inside a block its own thread may ask for another value: it gives the first
    one up until then, so that nobody holds one value while he waits for another, and no two can wait for each other.
    What another thread had set is put back in a forked child, where that thread is not.

    >>> place = ["as it was"]
    >>> def put(value):
    ...     before, place[0] = place[0], value
    ...     return lambda: place.__setitem__(0, before)
    >>> shared = Shared(put)
    >>> with shared.set_to("mine"), shared.set_to("mine"):
    ...     place
    ['mine']
    >>> place
    ['as it was']
    """

    def __init__(self, put: Callable[[V], Callable[[], None]]):
        self._put, self._local = put, threading.local()
        self._begin()
        if hasattr(os, "register_at_fork"):
            mine = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _of(mine, lambda shared: shared._turn.acquire()),
                after_in_parent=lambda: _of(mine, lambda shared: shared._turn.release()),
                after_in_child=lambda: _of(mine, Shared._after_fork),
            )

    def _begin(self) -> None:
        self._turn, self._waiting = threading.Condition(threading.Lock()), deque[object]()
        self._holders, self._value, self._put_back = 0, None, None

    @contextmanager
    def set_to(self, value: V) -> Iterator[None]:
        """The setting has this value inside the block."""
        holds, mine = self._holds, _Hold(value)
        outer = [hold for hold in holds if hold.is_held]  # all of one value
        given_up = [hold for hold in outer if hold.value != value]
        for hold in given_up:
            self._leave(hold)
        try:
            self._enter(mine, joins=outer != given_up)
            holds.append(mine)
            try:
                yield
            finally:
                holds.remove(mine)
                self._leave(mine)
        finally:
            for hold in given_up:
                if hold in holds:  # its own block may have ended meanwhile, out of turn
                    self._enter(hold, joins=any(other.is_held and other.value == hold.value for other in holds))

    @property
    def _holds(self) -> list[_Hold[V]]:
        """This thread's, from the outermost block to the innermost."""
        if not hasattr(self._local, "holds"):
            self._local.holds = []
        return self._local.holds

    def _enter(self, hold: _Hold[V], joins: bool) -> None:
        """``joins``: this thread has the value already, so that it does not queue behind those who wait for it."""
        with self._turn:
            if not joins:
                self._wait(hold.value)
            if not self._holders:
                self._value, self._put_back = hold.value, self._put(hold.value)
            self._holders += 1
            hold.is_held = True

    def _wait(self, value: V) -> None:
        ticket = object()
        self._waiting.append(ticket)
        try:
            self._turn.wait_for(lambda: self._waiting[0] is ticket and (not self._holders or self._value == value))
        finally:
            self._waiting.remove(ticket)
            self._turn.notify_all()

    def _leave(self, hold: _Hold[V]) -> None:
        with self._turn:
            if not hold.is_held:
                return
            hold.is_held = False
            self._holders -= 1
            if not self._holders and self._put_back is not None:
                self._put_back()
            self._turn.notify_all()

    def _after_fork(self) -> None:
        """Only the thread that forked is still there."""
        value, put_back, mine = self._value, self._put_back, sum(hold.is_held for hold in self._holds)
        had_others = self._holders > mine
        self._begin()
        if mine:
            self._holders, self._value, self._put_back = mine, value, put_back
        elif had_others and put_back is not None:
            put_back()


def _of(reference: Callable[[], Any], call: Callable[[Any], object]) -> None:
    """Of what a weak reference is to, if it is still there."""
    shared = reference()
    if shared is not None:
        call(shared)
