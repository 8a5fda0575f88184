"""A ModelBooster to its children, without any I/O: ModelServing, ModelServer, ModelRoutes, policies.

`expand` makes the children, `adopted` fits them to what is there, `judge` says whether a booster is admitted.
Which defects of Kthena are not copied stands in docs/deviations.md.
"""
