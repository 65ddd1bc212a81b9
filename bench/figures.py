"""What is told of many measurements."""

from collections.abc import Sequence


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    inorder = sorted(seconds)
    return {
        "p50_ms": round(inorder[len(inorder) // 2] * 1e3, 1) if inorder else None,
        "p99_ms": round(inorder[int(len(inorder) * 0.99)] * 1e3, 1) if inorder else None,
    }
