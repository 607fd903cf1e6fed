"""Models: an Arch made of torch modules."""
