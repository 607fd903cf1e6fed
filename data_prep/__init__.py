"""From a source to verified WebDataset shards: sources, order, packing, manifest. No ray, no torch."""
