"""`opensora`: Open-Sora 1.2 through its official repository or VideoSys."""
