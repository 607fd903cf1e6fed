"""Presets: YAML values only. Schemas and defaults are the dataclasses of pipeline and data_prep."""
