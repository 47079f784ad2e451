"""Looking for the layer at fault changes neither the program nor the networks it shares with."""

import numpy as np
import torch
from torch import Tensor, nn

from fca_edge.exporting.diagnose import find_layer_beyond, run_in_float64
from fca_edge.exporting.program import export_program
from fca_edge.passes.base import clone_tree


def test_weights_stay_as_they_are(micro: nn.Module, images: Tensor) -> None:
    network = micro.float()
    other = clone_tree(network)  # shares its tensors, as the forms of one export do
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    program = export_program(network, images.shape[-1])
    pixels = images.float().numpy()
    assert find_layer_beyond(program, pixels, np.inf) is None
    layer, peak = find_layer_beyond(program, pixels, 0.0) or ("", 0.0)
    tensors, _ = run_in_float64(program, pixels[:1])
    assert layer in tensors and peak > 0
    assert all(tensor.dtype == np.float64 for tensor in tensors.values())
    states = (network.state_dict(), other.state_dict(), program.state_dict)
    for state in states:
        assert all(torch.equal(before[name], state[name]) for name in before if name in state)
        assert all(state[name].dtype == before[name].dtype for name in before if name in state)
