#!/usr/bin/python
# -*- coding: utf-8 -*-
# MIT License

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: wp_gears_facts
short_description: What runs and waits on a host with background jobs
version_added: 0.1.0
description:
  - Sets the fact C(wp_gears) from C(wp-gears status) and, on request, C(wp-gears doctor).
options:
  doctor:
    description: Also run the checks, which takes up to some seconds.
    type: bool
    default: false
  executable:
    description: The program.
    type: str
    default: wp-gears
attributes:
  check_mode:
    description: It changes nothing anyway.
    support: full
author:
  - The wp-gears authors (@wp-gears)
"""

EXAMPLES = r"""
- name: Look at the jobs
  wp_gears.wp_gears.wp_gears_facts:
    doctor: true

- name: Stop if something is wrong
  ansible.builtin.assert:
    that: ansible_facts.wp_gears.healthy
"""

RETURN = r"""
ansible_facts:
  description: The fact.
  returned: always
  type: dict
  contains:
    wp_gears:
      description:
        - C(status) is the document of C(wp-gears status --json).
        - C(doctor), the document of C(wp-gears doctor --json), and C(healthy) are null unless asked for.
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wp_gears.wp_gears.plugins.module_utils import cli


def main():
    module = AnsibleModule(
        argument_spec={
            "doctor": {"type": "bool", "default": False},
            "executable": {"type": "str", "default": "wp-gears"},
        },
        supports_check_mode=True,
    )
    try:
        facts = {"status": cli.run(module, ["status", "--json"])[1], "doctor": None, "healthy": None}
        if module.params["doctor"]:
            code, facts["doctor"] = cli.run(module, ["doctor", "--json"])
            facts["healthy"] = code == 0
    except cli.CliError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ansible_facts={"wp_gears": facts})


if __name__ == "__main__":
    main()
