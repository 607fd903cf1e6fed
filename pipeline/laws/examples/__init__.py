"""Examples that are shipped: published tables to fit laws to."""

from pathlib import Path

TABLE_6 = Path(__file__).with_name("vit_table6.csv")
"""arXiv 2010.11929 v2, Table 6: accuracies in percent after fine-tuning, pre-training compute in exaFLOPs."""
