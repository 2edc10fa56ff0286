"""`hunyuan`: HunyuanVideo through its official repository."""
