#!/bin/bash
# Shows what dnet is for: demo/run.sh [PATH OF DNET], as root.
#
# All of it happens in namespaces for network, mounts and processes that are
# thrown away at the end, with empty /run and /var/lib: the machine keeps nothing
# of it. It needs bash and util-linux alone. It fails with the first step that
# fails.
set -Eeuo pipefail

if [ "${1-}" != inside ]; then
	dnet=${1-bin/dnet}
	if [ ! -x "$dnet" ]; then
		echo "there is no program $dnet: run make build first" >&2
		exit 1
	fi
	dnet=$(realpath "$dnet")
	if [ "$(id -u)" != 0 ]; then
		echo "namespaces are made by root: sudo $0 $*" >&2
		exit 1
	fi
	[ -t 1 ] && colour=1 || colour=
	exec unshare --net --mount --pid --fork --kill-child --mount-proc env COLOUR=$colour bash "$(realpath "$0")" inside "$dnet"
fi

dnet() { "$program" "$@"; }
program=$2
work=/run/demo

heading() { if [ -n "$COLOUR" ]; then printf '\n\e[1m%s\e[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
# show COMMAND... as a person would type it.
show() {
	local line=$1 word
	for word in "${@:2}"; do
		case $word in
		"$program") word=dnet ;;
		*[[:space:]]*) word="'$word'" ;;
		esac
		line+=" $word"
	done
	printf '  $ %s\n' "$line"
}
indent() { sed 's/^/    /'; }
# step COMMAND... shows a command and what it answers.
step() {
	show "$@"
	"$@" 2>&1 | indent
}
die() {
	echo "demo: $*" >&2
	[ ! -s $work/daemon.log ] || { echo 'the daemon said:' && cat $work/daemon.log; } >&2
	exit 1
}
# eventually COMMAND... tries a command for a minute, which is for machines that
# are busy with other things.
eventually() {
	local end=$((SECONDS + 60))
	while [ $SECONDS -lt $end ]; do
		if "$@" >/dev/null 2>&1; then return 0; fi
		read -rt 0.05 <> <(:) || true
	done
	echo "demo: this did not work for a minute: $*" >&2
	return 1
}

mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
mount -t sysfs none /sys # that of the new network
mkdir $work
"$program" demo-loopback

daemon= api=
finish() {
	[ -z "$api" ] || kill "$api" 2>/dev/null || true
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	wait
}
trap finish EXIT
trap 'die "line $LINENO failed: $BASH_COMMAND"' ERR

heading 'A daemon, in a throw-away network with nothing but a loopback'
show 'dnet daemon &'
"$program" daemon >$work/daemon.log 2>&1 &
daemon=$!
eventually dnet version

heading 'A network'
step dnet network create --subnet 10.8.0.0/24 web

heading 'A web server in a network of its own, published at port 8080 of the host'
show "dnet run --network web --name api -p 8080:80 -- dnet demo-server :80 'hello from api' &"
"$program" run --network web --name api -p 8080:80 -- "$program" demo-server :80 'hello from api' >$work/api.log 2>&1 &
api=$!
eventually dnet demo-get http://127.0.0.1:8080

heading 'A second command in that network reaches it by its name'
step dnet run --network web --name client -- "$program" demo-get http://api

heading 'The host reaches the published port'
step dnet demo-get http://127.0.0.1:8080
show 'exec 3<>/dev/tcp/127.0.0.1/8080   # the same with bash alone'
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET / HTTP/1.0\r\n\r\n' >&3
sed 's/\r$//' <&3 | indent
exec 3<&-

heading 'What the server sees: its own hosts, resolver, host name and links'
step dnet exec api -- bash -c 'cat /etc/hosts; grep nameserver /etc/resolv.conf; echo "I am $(uname -n) with" /sys/class/net/*'

heading 'What was made'
step dnet network ls
step dnet container ls
step dnet container port api

heading 'kill -9 of the command line: the server and its network live on'
show "kill -9 $api   # dnet run"
server=$(dnet container inspect --format '{{.OwnerPID}}' api)
{ kill -9 $api && wait $api; } 2>/dev/null || true
api=$server
step dnet demo-get http://127.0.0.1:8080

heading 'When the command ends its network goes, with nobody left to ask for it'
show "kill $server   # the server"
kill "$server"
gone() { ! dnet container inspect api; }
eventually gone
api=
step dnet container ls

heading 'Clean up, and proof that nothing is left'
step dnet network rm web
show 'kill the daemon'
kill "$daemon"
wait "$daemon" || die "the daemon ended with $?"
daemon=
# leftovers prints what is left. The kernel takes the links of a namespace away a
# moment after the namespace, in one queue for the whole machine.
leftovers() {
	local link pin pid
	for link in /sys/class/net/*; do [ "${link##*/}" = lo ] || echo "link ${link##*/}"; done
	for pin in /run/libnetwork/netns/*; do [ ! -e "$pin" ] || echo "namespace ${pin##*/}"; done
	for pid in /proc/[0-9]*; do
		[ "$(readlink "$pid/exe" 2>/dev/null)" != "$program" ] || echo "process ${pid#/proc/}"
	done
}
clean() { [ -z "$(leftovers)" ]; }
eventually clean || die "left behind: $(leftovers)"
echo '    links: lo alone; network namespaces: none; processes of dnet: none'
heading 'Done.'
