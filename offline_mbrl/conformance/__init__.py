"""What every system must do, whatever it computes, as tests that run on a user's own system too.

    pytest --pyargs offline_mbrl.conformance --algorithm mysystem

`--algorithm` takes a registered name, or `module:DEFINITION` for a system that no package adds yet; without it every
registered system is tested. Each is made small by the values of `small.COMMON` that its configuration has. A system
with sizes of its own names small values for them by `--small KEY=VALUE`, such as `--small capacity=100`.
"""
