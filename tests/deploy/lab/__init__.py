"""Real machines on one machine, for the tests of the deployments.

`ground.Lab` is a network of its own with machines in it: `lab.host("production")` boots a bare Debian 12 with systemd
and sshd, `engine.Docker` is a private Docker engine. `site` is a person at a deployed site, and constant load.
`releases` makes release archives of this repository and of commits on top of it. All that a lab makes carries its name
(`lab-4`), and `sweep` removes it by that name, whatever happened to the tests. What is made once stays in `LAB_CACHE`.
"""
