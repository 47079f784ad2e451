"""From a checkpoint file to the network that it fits: read safely, then match names and shapes."""
