"""NA-SAR: patches of radar over North America in WebDataset shards, for pre-training; docs/na-sar.md."""
