"""/metrics, in the form that Prometheus reads.

`middleware` measures requests · `families` everything there is to know about the site, from the database alone ·
`views` who may ask. What workers and requests count themselves is declared where it happens, with `jobs.tally`.
"""
