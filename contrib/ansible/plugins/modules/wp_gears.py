#!/usr/bin/python
# -*- coding: utf-8 -*-
# MIT License

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: wp_gears
short_description: Set up background jobs for WordPress on a host
version_added: 0.1.0
description:
  - Runs C(wp-gears setup), which installs and configures gearmand, PHP's gearman extension, supervisor and
    the workers, edits C(wp-config.php), and runs a test job.
  - The options are merged into C(/etc/wp-gears.toml). Options that you do not name stay what they are.
  - Whether something changed, and the diff, come from wp-gears' own plan.
options:
  state:
    description:
      - V(present) sets the host up, and proves it if something changed.
      - V(absent) undoes that, for O(sites) or for the whole host.
      - V(paused) lets the workers finish their jobs and take no new ones; V(resumed) ends that.
      - V(reloaded) loads WordPress anew before the next job of each worker. It always counts as a change.
    type: str
    choices: [present, absent, paused, resumed, reloaded]
    default: present
  host:
    description:
      - Host options, by their names in C(/etc/wp-gears.toml); V(_) may stand for V(-).
      - wp-gears checks names and values, and says what is wrong.
    type: dict
    default: {}
  sites:
    description:
      - Sites of this host. Each needs C(dir), its WordPress folder; every site option may follow.
      - With O(state=absent), O(state=paused), O(state=resumed) and O(state=reloaded), only C(dir) counts,
        and without sites the whole host is meant.
    type: list
    elements: dict
    default: []
  salts:
    description:
      - C(WP_ASYNC_TASK_SALT) of sites, by their folders. Hosts that share a site need the same.
      - It goes to wp-gears in a temporary file with mode 0600.
    type: dict
    default: {}
  mysql_password:
    description: Password of the MySQL queue's user. It goes to wp-gears in the environment.
    type: str
  prove:
    description:
      - V(changed) runs a test job if something changed, V(always) also if nothing did, V(never) runs none.
    type: str
    choices: [changed, always, never]
    default: changed
  start:
    description: Whether services are started. Say V(false) when you build an image.
    type: bool
    default: true
  drain:
    description: Seconds to wait for workers to run jobs that would be lost otherwise. Without it, wp-gears refuses.
    type: int
  lose_queued_jobs:
    description: Go on even if queued jobs are lost.
    type: bool
    default: false
  purge:
    description: With O(state=absent), also remove logs, failed jobs and the packages that setup installed.
    type: bool
    default: false
  wait:
    description: With O(state=paused), wait until the jobs in hand are finished, for at most these seconds.
    type: int
  root:
    description: Change only files below this folder, without packages and services.
    type: path
  executable:
    description: The program.
    type: str
    default: wp-gears
attributes:
  check_mode:
    description: Changes nothing, and reports the plan.
    support: full
  diff_mode:
    description: Shows the plan's diffs, with secrets masked.
    support: full
author:
  - The wp-gears authors (@wp-gears)
"""

EXAMPLES = r"""
- name: One host does everything
  wp_gears.wp_gears.wp_gears:
    sites:
      - dir: /var/www/site
        workers: 4

- name: A job server for other hosts
  wp_gears.wp_gears.wp_gears:
    host:
      role: [server]
      listen: 10.0.0.5

- name: A host with workers, which uses that server
  wp_gears.wp_gears.wp_gears:
    host:
      role: [worker]
      servers: ["10.0.0.5:4730"]
    sites:
      - dir: /var/www/site
    salts:
      /var/www/site: "{{ vault_site_salt }}"

- name: Let running jobs finish before a deployment
  wp_gears.wp_gears.wp_gears:
    state: paused
    wait: 600
"""

RETURN = r"""
version:
  description: Version of wp-gears.
  returned: with state=present and state=absent
  type: str
plan:
  description: The changes, in order. Each has C(resource), C(site), C(verb), C(details) and C(diff).
  returned: with state=present and state=absent
  type: list
  elements: dict
done:
  description: What was changed, with the milliseconds that each act took.
  returned: with state=present and state=absent, outside of check mode
  type: list
  elements: dict
proof:
  description: Test jobs that ran.
  returned: with state=present
  type: list
  elements: dict
refused:
  description: Sites that were left out, each with its C(error).
  returned: with state=present and state=absent
  type: list
  elements: dict
left:
  description: What wp-gears left on the host.
  returned: with state=absent
  type: list
  elements: str
sites:
  description: The sites, each with C(state), C(workers) and C(busy).
  returned: with state=paused, state=resumed and state=reloaded
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wp_gears.wp_gears.plugins.module_utils import cli


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["present", "absent", "paused", "resumed", "reloaded"],
                "default": "present",
            },
            "host": {"type": "dict", "default": {}},
            "sites": {"type": "list", "elements": "dict", "default": []},
            "salts": {"type": "dict", "default": {}, "no_log": True},
            "mysql_password": {"type": "str", "no_log": True},
            "prove": {
                "type": "str",
                "choices": ["changed", "always", "never"],
                "default": "changed",
            },
            "start": {"type": "bool", "default": True},
            "drain": {"type": "int"},
            "lose_queued_jobs": {"type": "bool", "default": False},
            "purge": {"type": "bool", "default": False},
            "wait": {"type": "int"},
            "root": {"type": "path"},
            "executable": {"type": "str", "default": "wp-gears"},
        },
        supports_check_mode=True,
    )
    for site in module.params["sites"]:
        if not site.get("dir"):
            module.fail_json(msg="each of 'sites' needs 'dir', the site's WordPress folder")
    acts = {"present": setup, "absent": remove}
    try:
        acts.get(module.params["state"], mark)(module)
    except cli.CliError as error:
        module.fail_json(msg=str(error))


def setup(module):
    params = module.params
    secrets = {}
    if params["mysql_password"] is not None:
        secrets["WP_GEARS_MYSQL_PASSWORD"] = params["mysql_password"]
    with cli.TemporaryConfig(cli.toml(params["host"], salted(params))) as options:
        arguments = ["--json", "--from=" + options] + shared(params)
        if not params["start"]:
            arguments.append("--no-start")
        if module.check_mode:
            code, document = cli.run(module, ["plan"] + arguments, secrets)
        else:
            proving = {"always": ["--prove"], "never": ["--no-prove"]}
            arguments += ["--yes"] + proving.get(params["prove"], [])
            code, document = cli.run(module, ["setup"] + arguments, secrets)
    report(module, code, document)


def remove(module):
    arguments = ["remove", "--json"] + folders(module.params) + shared(module.params)
    if module.params["purge"]:
        arguments.append("--purge")
    arguments.append("--dry-run" if module.check_mode else "--yes")
    code, document = cli.run(module, arguments)
    report(module, code, document)


def mark(module):
    """Pauses, resumes or reloads the workers."""
    state = module.params["state"]
    if module.check_mode and state == "reloaded":
        module.exit_json(changed=True)
    before = cli.run(module, ["status", "--json"] + folders(module.params))[1]
    paused = [site.get("paused", False) for site in before.get("sites", [])]
    wants = {"paused": not all(paused), "resumed": any(paused), "reloaded": True}
    if module.check_mode:
        module.exit_json(changed=wants[state])
    command = {"paused": "pause", "resumed": "resume", "reloaded": "reload"}[state]
    arguments = [command, "--json"] + folders(module.params)
    if module.params["wait"] is not None:
        arguments += ["--wait", "--timeout={0}".format(module.params["wait"])]
    code, document = cli.run(module, arguments)
    if code != 0:
        module.fail_json(msg=document.get("error") or "wp-gears {0} failed".format(command), **document)
    module.exit_json(changed=wants[state], **document)


def report(module, code, document):
    """Ends the module with what setup, plan or remove printed."""
    plan = document.get("plan", [])
    document["changed"] = bool(plan) if module.check_mode else document.get("changed", False)
    if module._diff:
        document["diff"] = [
            {"prepared": prepared(step)} for step in plan
        ]
    errors = [one["error"] for one in document.get("refused", [])]
    if document.get("error"):
        errors.insert(0, document["error"])
    document.pop("error", None)
    if errors or code not in (0, 3):
        text = "\n".join(errors) or "wp-gears exited with {0}".format(code)
        module.fail_json(msg=text, **document)
    module.exit_json(**document)


def prepared(step):
    """A step of the plan as text."""
    where = " [{0}]".format(step["site"]) if step.get("site") else ""
    lines = ["{0} {1}{2}".format(step["verb"], step["resource"], where)]
    lines += ["  " + detail for detail in step.get("details", [])]
    if step.get("diff"):
        lines.append(step["diff"].rstrip("\n"))
    return "\n".join(lines) + "\n"


def salted(params):
    """The sites, each with its salt."""
    salts = params["salts"]
    unknown = set(salts) - set(site["dir"] for site in params["sites"])
    if unknown:
        raise cli.CliError("'salts' names folders that are not in 'sites': " + ", ".join(sorted(unknown)))
    return [
        dict(site, salt=salts[site["dir"]]) if site["dir"] in salts else site
        for site in params["sites"]
    ]


def folders(params):
    return ["--site=" + site["dir"] for site in params["sites"]]


def shared(params):
    arguments = []
    if params["root"]:
        arguments.append("--root=" + params["root"])
    if params["drain"] is not None:
        arguments.append("--drain={0}".format(params["drain"]))
    if params["lose_queued_jobs"]:
        arguments.append("--lose-queued-jobs")
    return arguments


if __name__ == "__main__":
    main()
