"""How fast this machine carries out the program, as ratios measured in one run."""
