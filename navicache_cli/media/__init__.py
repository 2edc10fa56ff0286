"""Videos and pictures, in and out, and how close two videos are."""
