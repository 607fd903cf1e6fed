"""Report: what the reader sees. One offline page, figures and tables. No torch, no ray, light to import."""
