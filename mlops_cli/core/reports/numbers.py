"""Numbers as people read them, the same on every machine."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """`0.633`, `12,000`, `1.2e+07`: three significant digits; from a thousand on whole numbers."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if 1000 <= abs(value) < 1e7 or (value == int(value) and abs(value) < 1e7):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}"
    return f"−{text[1:]}" if text.startswith("-") else text


def share(value: float) -> str:
    """`12.3%`; a share that is not zero never reads 0%."""
    if value <= 0:
        return "0%"
    if 0 < value < 0.0005:
        return "<0.1%"
    return f"{value:.1%}" if value < 0.9995 else "100%"


def p_value(value: float | None) -> str:
    """`0.012`, `3e-17`; what no longer is a number is `<1e-300`."""
    if value is None:
        return "–"
    if value >= 0.9995:
        return "1"
    if value >= 0.001:
        return f"{value:.3f}"
    if value < 1e-300:
        return "<1e-300"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers in low..high (1, 2 or 5 times a power of ten apart); both ends if none fits."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Where low..high spans only a few representable numbers, a product may round to just outside of it.
    found = [min(max(place * step, low), high) for place in range(first, last + 1)]
    return found or [low, high]
