"""Evaluation suites: VBench's scores of a setting, and the common metrics of two folders of videos.

What is measured once is kept on disk with digests of all that it depends on (`store`), and summed up in a
document (`documents`), on the terminal (`table`) and on a page (`page`). VBench's own package works in a
process of its own, by any Python that has it (`package`, `run_vbench`).
"""
