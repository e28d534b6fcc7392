"""The job protocol: the row is the job, the broker is the doorbell.

`models` the columns every job has · `kinds` which kinds there are · `submit` a row and its place in the order ·
`ring` the doorbell · `claim` rows for a worker · `lease` keeps them · `finish` the one way to a terminal status ·
`drain` claim, run, finish, again · `sweep` repairs what was lost · `wait` for an outcome · `worker` the process.
"""
