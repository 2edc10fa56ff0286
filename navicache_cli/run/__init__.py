"""One plan on a loaded pipeline, and the video and report it leaves."""
