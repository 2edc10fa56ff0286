"""Comparing methods: what is compared, the cells it takes, what they add up to, and how it is shown.

A **setting** is a method with one set of values; a **cell** is one generation: a setting, a prompt and a
seed. Settings are chosen (`settings`), planned into jobs (`jobs`), run and kept on disk (`running`, `store`),
summed up (`summary`) and shown (`document`, `table`, `page`). A **runner** makes the video of a cell
(`runners`): the loaded model under a cache session, or anything else that can say what it cost.
"""
