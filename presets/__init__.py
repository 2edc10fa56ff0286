"""Preset files: one YAML per model family, read by `navicache_cli.plan.presets`."""
