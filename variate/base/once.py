"""What is computed when it is first asked for, and kept."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["once"]

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 (used like a function)
    """A method whose value is computed when it is first asked for, and kept with the object.

    As ``functools.cached_property``, without the lock that Python 3.11 has there for all objects of a class: threads
    would wait for each other's models, and a child forked meanwhile for ever.

    >>> class Asked:
    ...     @once
    ...     def answer(self):
    ...         print("thinking")
    ...         return 42
    >>> asked = Asked()
    >>> asked.answer, asked.answer
    thinking
    (42, 42)
    """

    def __init__(self, compute: Callable[[Any], T]):
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "once[T] | T":
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.compute(instance)
        return value
