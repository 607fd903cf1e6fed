"""One file a family of loaders. Each has ``prepare(work, ...)``, which writes its own format of the work's files below
``work.folder`` unless it is there, and ``loader(work, workers, ...)``, which gives one shuffled epoch of batches."""
