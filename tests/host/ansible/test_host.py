"""A connection to a test host: it enters the host's namespaces."""

import os
import shlex
import shutil

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: test_host
short_description: Enters the namespaces of a test host
description: The variable C(init) is the process id of its init.
version_added: "1.0"
author: wp-gears
options:
  init:
    description: The process id of the host's init.
    vars:
      - name: init
extends_documentation_fragment: []
"""


class Connection(Local):
    transport = "test_host"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        init = str(self.get_option("init"))
        inside = ["nsenter", "-t", init, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        inside += ["env", "-i", "HOME=/root", "LANG=C.UTF-8"]
        inside += ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        inside += ["sh", "-c", cmd]
        return super().exec_command(shlex.join(inside), in_data, sudoable=False)

    def put_file(self, in_path, out_path):
        shutil.copy(in_path, self._inside(out_path))

    def fetch_file(self, in_path, out_path):
        shutil.copy(self._inside(in_path), out_path)

    def _inside(self, path):
        return os.path.join("/proc", str(self.get_option("init")), "root", path.lstrip("/"))
