# Starts a test host: its root on an overlay, in mounts of its own, so that all
# of it is gone when its last process is. Ends the host when standard input ends.
#   start.sh SHAPE FOLDER LOWERDIRS NAME [SOURCE:TARGET:ro|rw]...
set -eu
shape=$1 folder=$2 lower=$3 name=$4
shift 4
root=$folder/root
mount -t overlay wp-gears-test -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$root"

# A cgroup for each host: two inits in one would kill each other's services.
groups=
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e "$tree/cgroup.procs" ]; then
        mkdir -p "$tree/wp-gears-tests/$name"
        groups="$groups $tree/wp-gears-tests/$name/cgroup.procs"
    fi
done
join='for group in '$groups'; do echo $$ >"$group"; done; exec "$@"'

case $shape in
booted)
    binds=
    for bind; do
        source=${bind%%:*} rest=${bind#*:}
        option=--bind
        [ "${rest#*:}" = ro ] && option=--bind-ro
        binds="$binds $option=$source:${rest%%:*}"
    done
    # Mount tables of version 1 are refused by newer inits.
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    # --keep-unit: there may be no init on this machine to ask for a scope.
    sh -c "$join" join systemd-nspawn --quiet -D "$root" --boot --machine="$name" \
        --hostname=testhost --register=no --keep-unit --private-network $binds \
        </dev/null >"$folder/console" 2>&1 &
    ;;
*)
    for bind; do
        source=${bind%%:*} rest=${bind#*:}
        mkdir -p "$root${rest%%:*}"
        mount --bind "$source" "$root${rest%%:*}"
        [ "${rest#*:}" = ro ] && mount -o remount,bind,ro "$root${rest%%:*}"
    done
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    network=--net
    [ "$shape" = networked ] && network= && cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # Process 1 starts nothing; it only reaps, or a service never looks stopped.
    sh -c "$join" join unshare --fork --kill-child --pid --uts --ipc $network sh -ec '
        hostname testhost
        mount -t proc proc "$1/proc"
        ip link set lo up 2>/dev/null || :
        exec chroot "$1" sh -c "sleep infinity & wait; wait"' init "$root" \
        </dev/null >"$folder/console" 2>&1 &
    ;;
esac
host=$!
read -r _ || :
kill -KILL $host 2>/dev/null || :
wait
