"""What hashing hostile inputs costs: time linear in their size, whatever they hold, and the keys they always had."""

from __future__ import annotations

import hashlib
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cachekey import hash_inputs, objecthash

finite = st.floats(allow_nan=False, allow_infinity=False)


def slowly(number: float) -> bytes:
    """Return the notation of objecthash as it is defined, one digit at a time."""
    if number == 0:
        return hashlib.sha256(b"f+0:").digest()
    left, exponent = abs(Fraction(number)), 0
    while left > 1:
        left, exponent = left / 2, exponent + 1
    while left <= Fraction(1, 2):
        left, exponent = left * 2, exponent - 1
    digits = ""
    while left:
        digits += "1" if left >= 1 else "0"
        left = (left - 1 if left >= 1 else left) * 2
    return hashlib.sha256(f"f{'-' if number < 0 else '+'}{exponent}:{digits}".encode()).digest()


@pytest.mark.rule("R49")
@given(finite | st.sampled_from([5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.5, 1.0, 2.0**60]))
def test_a_number_hashes_as_objecthash_defines_it(number: float) -> None:
    """The closed form gives what the definition gives, for every number: keys of older releases stay valid."""
    assert objecthash(number) == slowly(number)


def cost(numbers: list[str]) -> float:
    """CPU seconds that hashing a document of these numbers takes; the best of three."""
    document = f'{{"x":[{",".join(numbers)}]}}'.encode()
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        hash_inputs(document)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("form", ["{}e-324", "{}.5e-308", "{}.5e307", "0.{}e-305", "1.{}e305"])
def test_numbers_at_the_limits_cost_what_others_cost(form: str) -> None:
    """Numbers near the limits of a float take no longer to read and to hash than others: dividing took 30 times as long."""
    count = range(1000, 11_000)
    hostile = [form.format(n if "0.{}" in form or "1.{}" in form else n % 17 + 1) for n in count]
    assert cost(hostile) < 8 * cost([f"{n}.25" for n in count])


@pytest.mark.rule("R49")
def test_a_large_integer_and_its_float_keep_their_keys_in_any_order() -> None:
    """A number hashes by its own kind, whatever was hashed before it."""
    first = [objecthash(2**60), objecthash(2.0**60)]
    assert [objecthash(2.0**60), objecthash(2**60)] == first[::-1]
    assert first[0] != first[1]
