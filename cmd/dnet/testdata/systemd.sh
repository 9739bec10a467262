# Runs the unit UNIT with the program DNET below a manager of systemd, in mount and pid
# namespaces of its own. Args: UNIT DNET DIR. Says what went wrong, or "done".
set -eu
unit=$1 dnet=$2 dir=$3
export XDG_RUNTIME_DIR=$dir/run HOME=$dir/home DNET_HOST=unix://$dir/run/libnetwork/dnet.sock
mkdir -p "$XDG_RUNTIME_DIR" "$HOME/.config/systemd/user/dnet.service.d"
chmod 700 "$XDG_RUNTIME_DIR"
cp "$unit" "$HOME/.config/systemd/user/dnet.service"
printf '[Service]\nStandardError=append:'"$dir"'/log\nExecStart=\nExecStart=%s daemon --data-dir %s/data --run-dir %s/libnetwork\n' \
	"$dnet" "$dir" "$XDG_RUNTIME_DIR" >"$HOME/.config/systemd/user/dnet.service.d/here.conf"

mount --make-rprivate /
mount -t proc proc /proc
# What a manager asks for: to be on a system of systemd's, with a tree of control groups.
mount -t tmpfs tmpfs /run
mkdir /run/systemd /run/systemd/system
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/dnet-test-$$
mkdir "$group"
echo $$ >"$group/cgroup.procs"
# All that was begun is in the group, but for us.
end() {
	echo $$ >/sys/fs/cgroup/cgroup.procs
	echo 1 >"$group/cgroup.kill"
	wait || :
	for _ in $(seq 50); do
		if find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; then return; fi
		sleep 0.1
	done
}
trap end EXIT

fail() {
	echo "$*"
	systemctl --user status --no-pager dnet.service || :
	cat "$dir/log"
	exit 1
}
eventually() {
	for _ in $(seq 200); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	fail "not within 20 s: $*"
}
pid() { systemctl --user show --property MainPID --value dnet.service; }
another() { [ "$(pid)" != "$1" ] && systemctl --user is-active --quiet dnet.service; }
tables() { nft list tables | grep libnetwork | sort; }
# Nobody else flushes our tables, whatever the daemon does.
protected() {
	nft flush ruleset
	[ "$(tables)" = "$all" ] || fail "a flush $1 leaves these tables: $(tables)"
}

/lib/systemd/systemd --user --log-target=null &
eventually systemctl --user is-system-running --wait
systemctl --user start dnet.service || fail "the unit does not start"
"$dnet" network create --ipv6 web >/dev/null
all=$(tables)
[ -n "$all" ] || fail "no tables"
protected "while the daemon runs"

nft monitor >"$dir/monitor" &
monitor=$!
sleep 0.2
before=$(pid)
systemctl --user restart dnet.service || fail "the unit does not start again"
another "$before" || fail "the same daemon after a restart"
protected "after a restart"
kill $monitor
wait $monitor 2>/dev/null || :
[ ! -s "$dir/monitor" ] || fail "a restart, and a flush by others, have written: $(cat "$dir/monitor")"

before=$(pid)
systemctl --user kill --signal KILL dnet.service
protected "while the daemon is dead"
eventually another "$before"
protected "after the start that followed"
"$dnet" network create --ipv6 other >/dev/null || fail "the new daemon cannot change its tables"
"$dnet" network rm other >/dev/null
protected "after a change"

stored() { systemctl --user show --property NFileDescriptorStore --value dnet.service; }
[ "$(stored)" = 1 ] || fail "the manager keeps $(stored) sockets after two starts"

# In another network namespace the socket is of no use, and is replaced.
cat >>"$HOME/.config/systemd/user/dnet.service.d/here.conf" <<E2
ExecStart=
ExecStart=nsenter --net=/run/elsewhere $dnet daemon --data-dir $dir/data --run-dir $XDG_RUNTIME_DIR/libnetwork
E2
touch /run/elsewhere
unshare --net=/run/elsewhere true
systemctl --user daemon-reload
for _ in 1 2 3; do
	systemctl --user restart dnet.service || fail "the unit does not start in another namespace"
	"$dnet" network create elsewhere >/dev/null || fail "the daemon cannot change its tables in another namespace"
	"$dnet" network rm elsewhere >/dev/null
	[ "$(stored)" = 1 ] || fail "the manager keeps $(stored) sockets in another namespace"
done
head -n -2 "$HOME/.config/systemd/user/dnet.service.d/here.conf" >"$dir/here.conf"
mv "$dir/here.conf" "$HOME/.config/systemd/user/dnet.service.d/here.conf"
umount /run/elsewhere
systemctl --user daemon-reload
systemctl --user restart dnet.service || fail "the unit does not start where it was"

# Who stops the unit for good gives the tables up, and with them their protection.
systemctl --user stop dnet.service
nft flush ruleset
[ -z "$(tables)" ] || fail "nobody can remove the tables of a unit that was stopped: $(tables)"
systemctl --user start dnet.service
[ "$(tables)" = "$all" ] || fail "not made again: $(tables)"
"$dnet" network rm web >/dev/null
systemctl --user stop dnet.service
echo "done"
