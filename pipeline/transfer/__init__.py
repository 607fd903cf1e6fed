"""Transfer of a finished model to a downstream task."""
