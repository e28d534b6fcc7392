"""Numbers, shares and durations as people read them."""


def number(value: float) -> str:
    """About four figures, with thousands separated: 151.2, 1,234, 0.00312."""
    if value == 0 or 0.001 <= abs(value) < 1e9:
        decimals = max(0, 4 - len(str(int(abs(value))))) if abs(value) >= 1 else 4
        text = f"{value:,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share as a percentage that never rounds up to certainty."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"


def duration(ms: float) -> str:
    """Milliseconds as people say them."""
    if ms < 1:
        return "less than 1 ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s".replace(".0 ", " ")
    minutes, seconds = divmod(round(ms / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"
