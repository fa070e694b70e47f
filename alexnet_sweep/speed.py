"""How fast a run learns: when its training error first fell to a threshold, and whether it is learning at all.

Claims about speed (paper §3.1, figure 1: steps to 25 % training error; §4.2; §5) need the first; the second is the trap
of initial weights and input scale that do not fit: the loss then stays at ln(classes).
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

STUCK_WINDOW_STEPS = 50
STUCK_SHARE = 0.99  # of ln(classes); for 1000 classes 6.84, where the authors of copies give up on a run


class StepsToThreshold:
    """The first step at which the error over the last `window_images` training images, as trained, was low enough."""

    def __init__(self, threshold: float, window_images: int) -> None:
        self.threshold, self.window_images = threshold, window_images
        self.step: int | None = None  # counted from 1
        self._seen = 0
        self._window: deque[tuple[int, int]] = deque()

    def add(self, wrong: Sequence[int], images: Sequence[int]) -> None:
        """Wrong first answers and images of the steps that follow those added before."""
        for step_wrong, step_images in zip(wrong, images, strict=True):
            self._seen += 1
            self._window.append((step_wrong, step_images))
            while sum(count for _, count in self._window) - self._window[0][1] >= self.window_images:
                self._window.popleft()
            count = sum(count for _, count in self._window)
            error = sum(missed for missed, _ in self._window) / count
            if self.step is None and count >= self.window_images and error <= self.threshold:
                self.step = self._seen

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "seen": self._seen, "window": [list(pair) for pair in self._window]}

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self._seen = state["step"], state["seen"]
        self._window = deque((wrong, images) for wrong, images in state["window"])


def is_stuck(loss: float, classes: int) -> bool:
    """Whether a mean training loss, in nats, has not left that of guessing."""
    return loss >= STUCK_SHARE * math.log(classes)
