"""Length of a ban for repeat offenders."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from banguard.config.schema import BantimeIncrement

if TYPE_CHECKING:
    import ast

logger = logging.getLogger("banguard.jail")

LONGEST = float(2**33)
"""Seconds (272 years) that a ban with an end lasts at most, so that its end can still be written as a date."""

_MAX_TEXT = 1000
_MAX_NODES = 200
_MAX_BITS = 4096
_MAX_DIGITS = 20

Number = int | float
Formula = Callable[[float, int, float], float]
"""Ban time of the jail, number of earlier bans, factor → seconds; raises ValueError where there is no result."""


def _checked(value: object) -> Number:
    if not isinstance(value, int | float):
        raise TypeError(f"no number: {value!r}")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError("a number grows too large")
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MAX_BITS:
        raise ValueError("a number grows too large")
    return _checked(base**exponent)


def _shift_left(number: Number, places: Number) -> Number:
    if not isinstance(number, int) or not isinstance(places, int):
        raise TypeError("only whole numbers can be shifted")
    if places > _MAX_BITS:
        raise ValueError("a number grows too large")
    return number << places


def _round(number: Number, digits: Number = 0) -> Number:
    if abs(digits) > _MAX_DIGITS:
        raise ValueError("too many digits to round to")
    return round(number, int(digits)) if digits else round(number)


_BINARY: Mapping[str, Callable[[Number, Number], Number]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
    "Pow": _power,
    "LShift": _shift_left,
    "RShift": operator.rshift,  # of floats: TypeError, which is caught
    "BitAnd": operator.and_,
    "BitOr": operator.or_,
    "BitXor": operator.xor,
}
_COMPARE: Mapping[str, Callable[[Number, Number], bool]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
}
_UNARY: Mapping[str, Callable[[Number], Number]] = {
    "USub": operator.neg,
    "UAdd": operator.pos,
    "Not": operator.not_,
    "Invert": operator.invert,  # type: ignore[dict-item]
}
# Not factorial, comb and perm: their results grow without bound.
_MATH = frozenset(
    {"acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "degrees"}
    | {"erf", "erfc", "exp", "exp2", "expm1", "fabs", "floor", "fmod", "gamma", "gcd", "hypot", "isqrt", "lgamma"}
    | {"log", "log10", "log1p", "log2", "pow", "radians", "remainder", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"}
)
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "bool": bool,
    "float": float,
    "int": int,
    "max": max,
    "min": min,
    "pow": _power,
    "round": _round,
    **{f"math.{name}": getattr(math, name) for name in _MATH if hasattr(math, name)},
}
_CONSTANTS: Mapping[str, Number] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.tau": math.tau,
    "math.inf": math.inf,
}
_RANDOM = frozenset({"random.random", "random.uniform", "random.randint"})


class _Formula:
    """A formula as a tree that is checked when it is made and walked for each result."""

    def __init__(self, tree: ast.expr, random: Callable[[], float]) -> None:
        self._tree = tree
        self._random = random
        self._names: Mapping[str, Number] = {}
        self._check(tree)

    def __call__(self, bantime: float, count: int, factor: float) -> float:
        self._names = {"ban.Time": bantime, "ban.Count": count, "banFactor": factor, **_CONSTANTS}
        try:
            return float(self._value(self._tree))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"the formula has no result for count {count}: {error}") from error

    def _check(self, node: ast.expr) -> None:
        kind = type(node).__name__
        children: Sequence[ast.expr] = ()
        if kind == "Constant":
            if not isinstance(node.value, int | float):  # type: ignore[attr-defined]
                raise ValueError(f"not a number: {node.value!r}")  # type: ignore[attr-defined]
        elif kind in {"Name", "Attribute"}:
            name = _dotted(node)
            if name not in {"ban.Time", "ban.Count", "banFactor"} and name not in _CONSTANTS:
                raise ValueError(f"unknown name: {name}")
        elif kind == "BinOp":
            _known(node.op, _BINARY)  # type: ignore[attr-defined]
            children = (node.left, node.right)  # type: ignore[attr-defined]
        elif kind == "UnaryOp":
            _known(node.op, _UNARY)  # type: ignore[attr-defined]
            children = (node.operand,)  # type: ignore[attr-defined]
        elif kind == "BoolOp":
            children = node.values  # type: ignore[attr-defined]
        elif kind == "Compare":
            for op in node.ops:  # type: ignore[attr-defined]
                _known(op, _COMPARE)
            children = (node.left, *node.comparators)  # type: ignore[attr-defined]
        elif kind == "IfExp":
            children = (node.test, node.body, node.orelse)  # type: ignore[attr-defined]
        elif kind == "Call":
            name = _dotted(node.func)  # type: ignore[attr-defined]
            if name not in _FUNCTIONS and name not in _RANDOM:
                raise ValueError(f"unknown function: {name}")
            if node.keywords:  # type: ignore[attr-defined]
                raise ValueError(f"{name} takes no named values here")
            children = node.args  # type: ignore[attr-defined]
        else:
            raise ValueError(f"{kind} is not possible in a formula")
        for child in children:
            self._check(child)

    def _value(self, node: ast.expr) -> Number:
        kind = type(node).__name__
        if kind == "Constant":
            return _checked(node.value)  # type: ignore[attr-defined]
        if kind in {"Name", "Attribute"}:
            return self._names[_dotted(node)]
        if kind == "BinOp":
            function = _BINARY[type(node.op).__name__]  # type: ignore[attr-defined]
            return _checked(function(self._value(node.left), self._value(node.right)))  # type: ignore[attr-defined]
        if kind == "UnaryOp":
            return _checked(_UNARY[type(node.op).__name__](self._value(node.operand)))  # type: ignore[attr-defined]
        if kind == "BoolOp":
            wanted = type(node.op).__name__ == "Or"  # type: ignore[attr-defined]
            value: Number = 0
            for child in node.values:  # type: ignore[attr-defined]
                value = self._value(child)
                if bool(value) is wanted:
                    break
            return value
        if kind == "Compare":
            left = self._value(node.left)  # type: ignore[attr-defined]
            for op, child in zip(node.ops, node.comparators, strict=True):  # type: ignore[attr-defined]
                right = self._value(child)
                if not _COMPARE[type(op).__name__](left, right):
                    return False
                left = right
            return True
        if kind == "IfExp":
            return self._value(node.body if self._value(node.test) else node.orelse)  # type: ignore[attr-defined]
        name = _dotted(node.func)  # type: ignore[attr-defined]
        return _checked(self._call(name, [self._value(argument) for argument in node.args]))  # type: ignore[attr-defined]

    def _call(self, name: str, values: list[Number]) -> Number:
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](*values)
        if name == "random.random":
            return self._random()
        low, high = values
        if name == "random.uniform":
            return low + (high - low) * self._random()
        return int(low) + int((int(high) - int(low) + 1) * self._random())


def _dotted(node: ast.expr) -> str:
    """Return `name` or `name.name`, or what can be no name."""
    kind = type(node).__name__
    if kind == "Name":
        return str(node.id)  # type: ignore[attr-defined]
    if kind == "Attribute" and type(node.value).__name__ == "Name":  # type: ignore[attr-defined]
        return f"{node.value.id}.{node.attr}"  # type: ignore[attr-defined]
    return kind


def _known(op: object, table: Mapping[str, object]) -> None:
    if type(op).__name__ not in table:
        raise ValueError(f"{type(op).__name__} is not possible in a formula")


def _half() -> float:
    return 0.5


def compile_formula(text: str, random: Callable[[], float] = _half) -> Formula:
    """
    Return the function that `bantime.formula` stands for; ValueError saying what is wrong with *text*.

    Possible are numbers, `ban.Time`, `ban.Count`, `banFactor`, arithmetic, shifts, comparisons, `a if b else c`, the
    functions of `math` whose results stay small, `random.random()` and its kin, `int float abs min max round pow`.
    Nothing is ever evaluated as Python, numbers cannot grow beyond 4096 bits.
    """
    import ast  # noqa: PLC0415  few configurations have a formula

    if len(text) > _MAX_TEXT:
        raise ValueError(f"the formula is longer than {_MAX_TEXT} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the formula cannot be read: {error}") from error
    if sum(1 for _ in ast.walk(tree)) > _MAX_NODES:
        raise ValueError("the formula is too long")
    return _Formula(tree, random)


def _doubling(bantime: float, count: int, factor: float) -> float:
    return bantime * (1 << min(count, 20)) * factor


class BanTimes:
    """The ban times of one jail: that of a first ban, and how it grows for hosts that come back."""

    def __init__(
        self,
        bantime: float,
        increment: BantimeIncrement | None = None,
        *,
        jail: str = "",
        random: Callable[[], float] = _half,
    ) -> None:
        """
        *bantime* in seconds, negative for ever; *random* gives floats from 0 to below 1.

        A formula that cannot be used is logged, and the default (doubling each time) used in its place.
        """
        self.increment = increment if increment is not None else BantimeIncrement()
        self.first: float | None = None if bantime < 0 else bantime
        """Length of a first ban in seconds, None for ever."""
        self._jail = jail
        self._random = random
        self._formula: Formula = _doubling
        if self.increment.enabled and self.increment.formula:
            try:
                self._formula = compile_formula(self.increment.formula, random)
            except ValueError as error:
                logger.error("[%s] bantime.formula: %s. Ban times are doubled instead.", jail, error)

    def length(self, count: int) -> float | None:
        """
        Return how long a host is banned, in seconds (None: for ever), that was banned *count* times before.

        It is never shorter than the jail's ban time unless multipliers or `maxtime` say so; the random part is added
        after `maxtime` has cut.
        """
        first, increment = self.first, self.increment
        if first is None or count < 1 or not increment.enabled:
            return first
        if increment.multipliers:
            multiplier = increment.multipliers[min(count, len(increment.multipliers) - 1)]
            seconds = first * increment.factor * multiplier
            if seconds < 0:
                return None
        else:
            seconds = max(first, self._grown(first, count))
        if increment.maxtime is not None:
            seconds = min(seconds, increment.maxtime)
        seconds = min(seconds, LONGEST)
        if increment.rndtime:
            seconds += increment.rndtime * self._random()
        return float(int(seconds))

    def _grown(self, first: float, count: int) -> float:
        try:
            seconds = self._formula(first, count, self.increment.factor)
            if math.isnan(seconds):
                raise ValueError(f"the formula has no result for count {count}: nan")  # noqa: TRY301
        except ValueError as error:
            logger.error("[%s] bantime.formula: %s. The ban time is doubled instead.", self._jail, error)
            seconds = _doubling(first, count, self.increment.factor)
        return seconds

    def at_least(self, length: float | None) -> float | None:
        """Return *length* (None: for ever), or what `bantime.quiet` asks for after a failure, if that is more."""
        return length if length is None else max(length, self.increment.hold)

    def cut(self, length: float | None, age: float = 0.0) -> float | None:
        """
        Return *length* (None: for ever) as a ban of an earlier run may still last under the present settings.

        It began *age* seconds ago, and its host may have sent packets until then (`bantime.quiet`).
        """
        if self.first is None:
            return length
        limit = self.increment.maxtime if self.increment.enabled else self.first
        if limit is None:
            return length
        if self.increment.quiet:
            limit = max(limit, age + self.increment.hold)
        return limit if length is None else min(length, limit)
