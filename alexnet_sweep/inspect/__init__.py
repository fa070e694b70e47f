"""A trained run looked at from inside, as the paper's §6.1 does. Writes nothing into run folders."""
