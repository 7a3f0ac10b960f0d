"""From H(R) and S(R) to bands, density of states, gap and symmetry; independent of any network."""
