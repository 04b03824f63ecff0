# -*- coding: utf-8 -*-
# MIT License
"""Runs wp-gears and reads the JSON document that it prints."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import tempfile


class CliError(Exception):
    """wp-gears could not be run, or did not print a document."""


def run(module, arguments, secrets=None):
    """Runs `wp-gears ARGUMENTS` and returns its exit code and its document.

    Secrets go into the environment of the process: nothing in the arguments is secret.
    """
    command = [module.params["executable"]] + arguments
    code, out, err = module.run_command(command, environ_update=secrets or {})
    try:
        return code, json.loads(out)
    except ValueError:
        what = (err or out).strip() or "no output"
        raise CliError("{0} exited with {1}: {2}".format(" ".join(command), code, what))


def toml_value(value):
    """A value of the config file. JSON's strings are also TOML's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[{0}]".format(", ".join(toml_value(one) for one in value))
    # TOML wants DEL escaped, which JSON leaves as it is.
    return json.dumps(str(value)).replace("\x7f", "\\u007f")


def toml(host, sites):
    """The options as a config file. Keys may be written with '_' instead of '-'."""
    lines = _table(host)
    for site in sites:
        lines += ["", "[[site]]"] + _table(site)
        for rule in site.get("hook") or []:
            lines += ["", "[[site.hook]]"] + _table(rule)
    return "\n".join(lines) + "\n"


def _table(options):
    return [
        "{0} = {1}".format(key.replace("_", "-"), toml_value(value))
        for key, value in sorted(options.items())
        if value is not None and key != "hook"
    ]


class TemporaryConfig(object):
    """A config file for one run, which only its owner may read."""

    def __init__(self, text):
        self.text = text

    def __enter__(self):
        handle, self.path = tempfile.mkstemp(prefix="wp-gears-", suffix=".toml")
        with os.fdopen(handle, "w") as file:
            file.write(self.text)
        return self.path

    def __exit__(self, *_error):
        os.unlink(self.path)
