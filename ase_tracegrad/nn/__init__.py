"""Equivariant networks that map a neighbour graph to the blocks of H(R)."""
