"""Makes RPMs, laid out as CentOS Stream 9 and EPEL 9 have them, of the files of
Debian's packages, and the repositories that they stand in.

    packages.py FOLDER   (on a Debian host where those packages are installed)
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WORK = Path("/tmp/rpms")
PHP = next(Path("/etc/php").glob("[0-9]*")).name


def words(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def installed(pattern):
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}:${Architecture}\n", pattern]
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[1].removesuffix(":all") for line in lines if line.startswith("ii")]


class Rpm:
    """One package: files of Debian's, renamed or left out, and some of our own."""

    def __init__(self, repository, name, debs=(), only="", without="^$", moved=(), requires=(),
                 files=None, folders=None, before="", unit="", provides=()):
        self.repository, self.name, self.requires = repository, name, requires
        self.before, self.unit, self.provides = before, unit, provides
        self.root = WORK / "roots" / name
        self.folders = folders or {}
        self.debs = [deb for pattern in debs for deb in installed(pattern)]
        self.version = "9.0"
        if self.debs:
            version = words(["dpkg-query", "-W", "-f", "${Version}\n", self.debs[0]])[0]
            self.version = re.match(r"(?:\d+:)?([0-9.]+)", version)[1].strip(".")
        self.root.mkdir(parents=True)
        for deb in self.debs:
            for path in map(Path, words(["dpkg", "-L", deb])):
                self.take(path, re.compile(only), re.compile(without), moved)
        for extension in list(self.root.rglob("usr/lib/php/2*/*.so")):
            self.switch_on(extension.stem)
        for path, text in (files or {}).items():
            self.write(path, text)

    def take(self, path, only, without, moved):
        shown = str(path)
        docs = "/usr/share/(doc|man|lintian|bug)/|/(lib|etc)/(systemd|init.d|cron|apache2|apt)"
        left = re.match(docs, shown) or without.search(shown) or not only.search(shown)
        if left or (path.is_dir() and not path.is_symlink()) or not os.path.lexists(path):
            return
        if path.is_symlink() and "/etc/alternatives" in os.readlink(path):
            return
        for old, new in moved:
            shown = re.sub(old, new, shown)
        # Debian's /lib is a link to /usr/lib, and an RPM goes through no link.
        shown = re.sub("^/(lib|bin|sbin)", r"/usr/\1", shown)
        target = self.root / shown[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)

    def switch_on(self, extension):
        """The ini file that switches a PHP extension on, under the number it has."""
        for link in Path(f"/etc/php/{PHP}/cli/conf.d").glob(f"*-{extension}.ini"):
            number = "50" if extension == "gearman" else link.name.split("-")[0]
            self.write(f"/etc/php.d/{number}-{extension}.ini", link.read_text())

    def write(self, path, text, mode=0o644):
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if "/bin/" in path else mode)

    def build(self):
        listed = []
        for path in self.root.rglob("*"):
            shown = f"/{path.relative_to(self.root)}"
            if not path.is_dir() or path.is_symlink():
                config = "%config(noreplace) " if shown.startswith("/etc/") else ""
                listed.append(f'{config}"{shown}"')
        for folder, owner in self.folders.items():
            (self.root / folder[1:]).mkdir(parents=True, exist_ok=True)
            listed.append(f"%dir %attr({owner}) {folder}")
        scripts = ""
        if self.before:
            scripts += f"%pre\n{self.before}\n"
        if self.unit:
            scripts += f"""%post
systemctl daemon-reload >/dev/null 2>&1 || :
%preun
[ "$1" != 0 ] || systemctl --no-reload disable --now {self.unit} >/dev/null 2>&1 || :
%postun
systemctl daemon-reload >/dev/null 2>&1 || :
"""
        tags = [f"Requires: {name}" for name in self.requires]
        tags += [f"Provides: {name}" for name in self.provides]
        spec = WORK / f"{self.name}.spec"
        spec.write_text(f"""\
%define _topdir {WORK}/{self.name}
%define _rpmdir {WORK}/out/{self.repository}
%define _build_id_links none
%define _binary_payload w1.gzdio
%define __os_install_post %{{nil}}
%define debug_package %{{nil}}
Name: {self.name}
Version: {self.version}
Release: 1.el9
Summary: {self.name} of a test host
License: as its files say
AutoReqProv: no
""" + "\n".join(tags) + f"""
%description
Made for tests of files of Debian's.
%install
mkdir -p %{{buildroot}}
cp -al {self.root}/. %{{buildroot}}
%files
""" + "\n".join(listed) + f"\n{scripts}")
        build = subprocess.run(["rpmbuild", "--quiet", "-bb", spec], capture_output=True, text=True)
        if build.returncode:
            sys.exit(f"{self.name}: {build.stdout}{build.stderr}")


def patched(rpm, path, changes):
    """Paths that Debian compiled into a program, as CentOS compiles them in: so it
    looks for its files, and reports them, as it does there."""
    target = rpm.root / path[1:]
    code = target.read_bytes()
    for old, new in changes:
        old, new = old.encode() + b"\0", new.encode() + b"\0"
        if b"\0" + old not in code:
            sys.exit(f"{path} does not hold {old}")
        # Its last part stays: the linker lets others ("cli", PHP's own name) share it.
        tail = old.rsplit(b"/", 1)[1]
        code = code.replace(b"\0" + old, b"\0" + new.ljust(len(old) - len(tail), b"\0") + tail)
    target.write_bytes(code)


def user(name, home):
    return (f"getent group {name} >/dev/null || groupadd -r {name}\n"
            f"getent passwd {name} >/dev/null ||\n"
            f"    useradd -r -g {name} -d {home} -s /sbin/nologin -M {name}")


def repository(name, enabled=1):
    return (f"[{name}]\nname=CentOS Stream 9 - {name}\nbaseurl=file:///srv/packages/{name}\n"
            f"gpgcheck=0\nenabled={enabled}\n")


def system():
    release = "CentOS Stream release 9\n"
    yield Rpm("baseos", "centos-stream-release", files={
        "/usr/lib/os-release": (
            'NAME="CentOS Stream"\nVERSION="9"\nID="centos"\nID_LIKE="rhel fedora"\n'
            'VERSION_ID="9"\nPLATFORM_ID="platform:el9"\nPRETTY_NAME="CentOS Stream 9"\n'
            'CPE_NAME="cpe:/o:centos:centos:9"\n'),
        "/etc/centos-release": release,
        "/etc/redhat-release": release,
        "/etc/yum.repos.d/centos.repo":
            repository("baseos") + repository("appstream") + repository("crb", enabled=0),
        "/etc/yum.repos.d/centos-addons.repo": repository("extras"),
    }, provides=["/bin/sh", "system-release = 9", "system-release(releasever) = 9",
                 "centos-release = 9"])
    yield Rpm("extras", "epel-release", files={
        "/etc/yum.repos.d/epel.repo": repository("epel").replace(
            "CentOS Stream 9 - epel", "Extra Packages for Enterprise Linux 9"),
        "/usr/bin/crb": '#!/bin/sh\nexec dnf config-manager --set-"${1:?enable or disable}d" crb\n',
    })
    yield Rpm("baseos", "make", ["make"])
    yield Rpm("appstream", "python3-pip", ["python3-pip"])
    yield Rpm("crb", "python3-wheel", ["python3-wheel"])
    yield Rpm("appstream", "gcc", [
        "gcc", "gcc-[0-9]*", "cpp", "cpp-[0-9]*", "libgcc-*-dev", "libc6-dev", "libc-dev-bin",
        "libcrypt-dev", "linux-libc-dev", "binutils*", "libbinutils"], without="gcc-[0-9]*-base")


def php():
    mods = f"php{PHP}-"
    process = r"/(posix|shmop|sysv[a-z]*)\.so$"
    moved = [(rf"/(php|php-fpm|phpize|php-config){PHP}$", r"/\1")]
    common = Rpm("appstream", "php-common", [mods + "common", mods + "readline"], r"\.so$", process)
    common.write("/etc/php.ini", Path(f"/etc/php/{PHP}/fpm/php.ini").read_text())
    common.folders = {"/etc/php.d": "755,root,root", "/var/lib/php": "755,root,root",
                      "/var/lib/php/sessions": "1733,root,root"}
    yield common
    yield Rpm("appstream", "php-process", [mods + "common"], process, requires=["php-common"])
    for name in ["opcache", "xml", "gd", "sqlite3:pdo", "mysql:mysqlnd"]:
        deb, _, rpm = name.partition(":")
        yield Rpm("appstream", f"php-{rpm or deb}", [mods + deb], r"\.so$", requires=["php-common"])

    cli = Rpm("appstream", "php-cli", [mods + "cli"], "^/usr/bin", moved=moved,
              requires=["php-common"])
    patched(cli, "/usr/bin/php",
            [(f"/etc/php/{PHP}/cli", "/etc"), (f"/etc/php/{PHP}/cli/conf.d", "/etc/php.d")])
    yield cli

    fpm = Rpm("appstream", "php-fpm", [mods + "fpm"], "^/usr/sbin", moved=moved,
              requires=["php-common"], unit="php-fpm.service", before=user("apache", "/usr/share/httpd"),
              folders={"/etc/php-fpm.d": "755,root,root", "/var/log/php-fpm": "770,apache,root"}, files={
        "/etc/php-fpm.conf": "include=/etc/php-fpm.d/*.conf\n[global]\npid = /run/php-fpm/php-fpm.pid\n"
                             "error_log = /var/log/php-fpm/error.log\ndaemonize = yes\n",
        "/etc/php-fpm.d/www.conf": "[www]\nuser = apache\ngroup = apache\n"
                                   "listen = /run/php-fpm/www.sock\nlisten.acl_users = apache,nginx\n"
                                   "pm = dynamic\npm.max_children = 50\npm.start_servers = 5\n"
                                   "pm.min_spare_servers = 5\npm.max_spare_servers = 35\n",
        "/usr/lib/systemd/system/php-fpm.service":
            "[Unit]\nDescription=PHP's process manager\nAfter=network.target\n[Service]\nType=notify\n"
            "ExecStart=/usr/sbin/php-fpm --nodaemonize\nExecReload=/bin/kill -USR2 $MAINPID\n"
            "PrivateTmp=true\nRuntimeDirectory=php-fpm\n[Install]\nWantedBy=multi-user.target\n",
    })
    patched(fpm, "/usr/sbin/php-fpm", [
        (f"/etc/php/{PHP}/fpm", "/etc"), (f"/etc/php/{PHP}/fpm/conf.d", "/etc/php.d"),
        ("%s/php/%d.%d/fpm/php-fpm.conf", "%s/php-fpm.conf")])
    yield fpm

    devel = Rpm("appstream", "php-devel", [mods + "dev"], moved=moved,
                without=r"^/usr/share|\.mk$|dh_|dh/", requires=["php-cli", "gcc", "make"])
    for script in ["/usr/bin/phpize", "/usr/bin/php-config"]:
        text = (devel.root / script[1:]).read_text()
        text = text.replace(f"/etc/php/{PHP}/cli/conf.d", "/etc/php.d")
        text = text.replace(f"/etc/php/{PHP}/cli", "/etc")
        # Debian's ask its package manager for what is known here.
        text = re.sub(r"\$\(dpkg-query .*\)$", "'cli fpm'", text, flags=re.M)
        text = text.replace(f'program_suffix="{PHP}"', 'program_suffix=""')
        text = re.sub(r"\bdpkg --compare-versions [^;]*", "true", text)
        devel.write(script, re.sub(rf"/(php|phpize|php-config){PHP}\b", r"/\1", text))
    yield devel
    yield Rpm("appstream", "php-pear", ["php-pear"], requires=["php-cli", "php-xml"])


def epel():
    yield Rpm("epel", "libgearman", ["libgearman8"])
    yield Rpm("epel", "libgearman-devel", ["libgearman-dev"], requires=["libgearman"])
    yield Rpm("epel", "gearmand", ["gearman-job-server", "gearman-tools"], "^/usr",
              requires=["libgearman"], unit="gearmand.service", before=user("gearmand", "/"), files={
        "/etc/sysconfig/gearmand": '### Settings for gearmand\n# OPTIONS=""\n',
        "/usr/lib/systemd/system/gearmand.service":
            "[Unit]\nDescription=Gearman job server\nAfter=network.target\n[Service]\n"
            "Type=forking\nUser=gearmand\nEnvironmentFile=/etc/sysconfig/gearmand\n"
            "ExecStart=/usr/sbin/gearmand -d --log-file none --syslog $OPTIONS\n"
            "[Install]\nWantedBy=multi-user.target\n",
    })
    yield Rpm("epel", "php-pecl-gearman", ["php-gearman", f"php{PHP}-gearman"], r"\.so$",
              requires=["php-common", "libgearman"])
    yield Rpm("epel", "supervisor", ["supervisor"], "^/usr",
              unit="supervisord.service",
              folders={"/etc/supervisord.d": "755,root,root", "/var/log/supervisor": "770,root,root"}, files={
        "/etc/supervisord.conf":
            "[unix_http_server]\nfile=/var/run/supervisor/supervisor.sock\n"
            "[supervisord]\nlogfile=/var/log/supervisor/supervisord.log\npidfile=/var/run/supervisord.pid\n"
            "nodaemon=false\n[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[supervisorctl]\nserverurl=unix:///var/run/supervisor/supervisor.sock\n"
            "[include]\nfiles = supervisord.d/*.ini\n",
        "/usr/lib/tmpfiles.d/supervisor.conf": "D /run/supervisor 0770 root root -\n",
        "/usr/lib/systemd/system/supervisord.service":
            "[Unit]\nDescription=Keeps programs running\nAfter=network.target\n[Service]\nType=forking\n"
            "RuntimeDirectory=supervisor\nRuntimeDirectoryMode=0770\n"
            "ExecStart=/usr/bin/supervisord -c /etc/supervisord.conf\n"
            "[Install]\nWantedBy=multi-user.target\n",
    })


def main():
    folder = Path(sys.argv[1])
    replaced = set()
    for rpms in (system(), php(), epel()):
        for rpm in rpms:
            rpm.build()
            replaced.update(rpm.debs)
    for name in ["baseos", "appstream", "crb", "extras", "epel"]:
        repository = folder / name
        shutil.copytree(WORK / "out" / name, repository)
        subprocess.run(["createrepo_c", "--quiet", repository], check=True)
    # What an RPM took the place of is Debian's no more.
    (folder / "replaced").write_text("\n".join(sorted(replaced)) + "\n")


main()
