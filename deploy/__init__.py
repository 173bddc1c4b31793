"""Where and how the mesh runs: addresses, replicas, images."""
