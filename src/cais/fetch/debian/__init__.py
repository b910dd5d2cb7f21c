"""Debian without apt: the signed index, the dependencies, the packages, a userland. Only the standard library and
the OpenPGP wheel, as whoever runs it, so it works the same on a Fedora laptop and in a CI job without root.
"""
