raise ModuleNotFoundError("No module named 'decord'", name="decord")
