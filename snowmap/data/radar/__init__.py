"""What the radar tells of snow: the phase, its reference and its network of pairs, and the backscatter of wet snow."""
