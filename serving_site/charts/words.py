"""Numbers as people read them."""


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
