"""From a data set's name to batches: sources, the packed store, and the order of training images."""
