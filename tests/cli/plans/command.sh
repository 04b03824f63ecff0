#!/bin/sh
# A stand-in for a host's programs, installed under their names. It answers from
# /packages (packages.awk), /etc and the unit files.
name=${0##*/}
all=$*
words=
while [ $# -gt 0 ]; do
    case $1 in
    -o | -f | -p | --qf) shift ;;
    -*) ;;
    *) words="$words $1" ;;
    esac
    shift
done
answer() {
    exec awk -f /packages.awk -- "$@"
}

# Imitates 'systemctl show' from a unit's file.
unit() {
    file=/usr/lib/systemd/system/$1
    echo "Id=$1"
    if [ ! -e "$file" ]; then
        printf '%s\n' LoadState=not-found ActiveState=inactive SubState=dead MainPID=0 NeedDaemonReload=no
        return
    fi
    type=simple
    while read -r line; do
        case $line in
        Type=*) type=${line#*=} ;;
        ExecStart=*) start=${line#*=} ;;
        esac
    done <"$file"
    if [ -e "/etc/systemd/system/multi-user.target.wants/$1" ]; then
        printf '%s\n' UnitFileState=enabled ActiveState=active SubState=running
    else
        printf '%s\n' UnitFileState=disabled ActiveState=inactive SubState=dead
    fi
    echo "ExecStart={ path=${start%% *} ; argv[]=$start ; ignore_errors=no ; pid=0 ; status=0/0 }"
    printf '%s\n' LoadState=loaded MainPID=0 NeedDaemonReload=no "Type=$type" "FragmentPath=$file"
}

# shellcheck disable=SC2086 # words of words
set -- $words
case $name:$* in
dpkg-query:*) answer dpkg ;;
rpm:) answer rpm ;;
apt-cache:policy*) shift && answer policy "$@" ;;
apt-get:install*) shift && answer apt "$@" ;;
dnf:repoquery*) shift && answer repoquery "$@" ;;
yum:info*) shift 2 && answer info "$@" ;;
dnf:install* | yum:install*) shift && answer "$name" "$@" ;;
dnf:repolist | yum:repolist*)
    case $all in
    *all*) answer repolist "$name" all ;;
    *) answer repolist "$name" ;;
    esac
    ;;
systemctl:show*)
    shift
    between=
    for service; do
        printf '%s' "$between"
        unit "$service"
        between='
'
    done
    ;;
getenforce:) if [ -e /selinux-is-off ]; then echo Disabled; else echo Enforcing; fi ;;
getsebool:*) echo "$1 --> off" ;;
php*)
    case $all in
    *TOKEN_PARSE*)
        read -r sizes
        for _ in $sizes; do echo ok; done
        ;;
    *PHP_CONFIG_FILE_SCAN_DIR*) printf /etc/php.d ;;
    *PHP_VERSION*)
        read -r version </version-of-php
        printf '\n%s\n%s\n%s\n' "$version" /usr/lib64/php/modules json
        printf '%s\n%s\n,\n' pcntl none
        ;;
    *) exit 64 ;;
    esac
    ;;
*)
    echo "$name: no stand-in knows '$all'" >&2
    exit 64
    ;;
esac
