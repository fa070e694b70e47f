"""Random streams keyed by seed and use (common random numbers).

Nothing draws from a shared generator. Each use — the order of an epoch, its crops, one dropout layer
at one step, the initial values of one parameter — has a stream of its own, named by a path such as
`("crop", epoch)`. Switching one factor on or off therefore changes nothing that another factor draws,
and a run stopped at any step needs no generator state to go on.
"""

import hashlib

import numpy as np


def stream_seed(seed: int, *use: str | int) -> int:
    """A 63-bit seed for one use; the same on every machine and in every process."""
    text = "/".join([str(seed), *map(str, use)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stream(seed: int, *use: str | int) -> np.random.Generator:
    """A NumPy generator for one use (Philox, whose output is fixed across NumPy versions)."""
    return np.random.Generator(np.random.Philox(stream_seed(seed, *use)))
