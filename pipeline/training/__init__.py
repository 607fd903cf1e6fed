"""Training: Lightning modules, and the one function that runs a Segment."""
