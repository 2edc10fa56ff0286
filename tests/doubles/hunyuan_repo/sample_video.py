# The program that tells this repository from HunyuanVideo-I2V; navicache never runs it.
