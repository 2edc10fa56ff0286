"""The options of a plan, the presets they come from, and the checks of both."""
