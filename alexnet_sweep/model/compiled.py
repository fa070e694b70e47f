"""Response normalisation by compiled functions (`trainer.compile`): made before the first step, or not at all."""

import torch
from torch import nn

from alexnet_sweep.model.norms import ResponseNorm


def compile_norms(net: nn.Module, inputs: torch.Tensor) -> str | None:
    """Have the normalisers of `net` train by compiled functions; None, or in one line why they do not.

    Each function is made here, for maps as large as those of `inputs` (batch, 3, crop, crop), so that what cannot be
    compiled is known before training starts.
    """
    norms = [module for module in net.modules() if isinstance(module, ResponseNorm)]
    if not norms:
        return "the network has no response normalisation across maps, which is what is compiled"
    torch.compiler.reset()  # else the functions of earlier runs in this process count against this one's
    seen: dict[nn.Module, torch.Tensor] = {}
    hooks = [norm.register_forward_hook(lambda norm, given, found: seen.update({norm: given[0]})) for norm in norms]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(inputs)
        for norm in norms:
            norm.train().compile_formula()
            norm(seen[norm].detach().requires_grad_()).sum().backward()
    except (RuntimeError, ImportError, OSError) as error:
        for norm in norms:
            norm.compiled = None
        return " ".join(str(error).split())[:200]
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return None
