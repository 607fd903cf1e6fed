"""Data: the reader, the order of samples, augmentation, and the Lightning data module. Nothing keeps a position."""
