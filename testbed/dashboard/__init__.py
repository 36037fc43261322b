"""The live page: what happens in a run, drawn, and a hand on it.

It runs outside the sandbox, reads the run's files and speaks to its control sockets. `state` and `drawing` are pure;
`watch` and `counters` look; `steer` and `runs` act; `guard` decides who may; `app` joins them to HTTP.
"""
