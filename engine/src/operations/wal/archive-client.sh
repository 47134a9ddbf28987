#!/bin/sh
# PostgreSQL's archive_command: hands a WAL file to `helvino wal receive`, which runs on this machine.
# Made by `helvino wal client`. Needs a POSIX shell and cat, mkdir, mkfifo, od, rm, sleep, wc; no Node.js.
# Exit status 0 only when the file is stored: durable, and read back. 75: try again (no receiver, no answer, the store is
# away); others: see docs/operations/archive-command.md. Never above 125, which PostgreSQL would take for a crash.
folder=@FOLDER@
seconds=@SECONDS@

fail() {
  status=$1
  shift
  printf 'helvino: %s\n' "$*" >&2
  exit "$status"
}

[ $# -eq 2 ] || fail 64 "the path and the name of a WAL file are needed: archive_command = '$0 \"%p\" \"%f\"'"
path=$1
name=$2
case $name in
'' | *[!0-9A-Za-z.]*) fail 64 "\"$name\" is not the name of a WAL file" ;;
esac
[ -f "$path" ] && [ -r "$path" ] || fail 66 "$path cannot be read"
[ ! -d "$folder" ] || [ -x "$folder" ] || fail 77 "$folder is closed to this user: start the receiver with --group and a group of this user"
[ -p "$folder/requests" ] || fail 75 "no receiver has ever run in $folder: start helvino wal receive"
[ -w "$folder/requests" ] && [ -r "$folder/requests" ] || fail 77 "$folder/requests is closed to this user: start the receiver with --group and a group of this user"
size=$(($(wc -c <"$path"))) || fail 66 "$path cannot be read"
# A segment says which cluster it is of. For other files the control file does; archive_command runs in the data directory.
cluster=-
case $name in
*.*) cluster=$(printf %s $(od -A n -t x1 -N 8 global/pg_control 2>/dev/null)) && [ -n "$cluster" ] || cluster=- ;;
esac

# Two pipes of our own: `data` to the receiver, `reply` back.
umask 007
own=$folder/clients/$$
worker=
watchdog=
trap 'kill $worker $watchdog 2>/dev/null; rm -rf "$own"' EXIT
trap 'exit 75' HUP INT QUIT TERM
mkdir "$own" 2>/dev/null || {
  # Left by a process that was killed and had the same number.
  own=$own.$(date +%s)
  mkdir "$own" || fail 77 "$folder/clients cannot be written"
}
mkfifo "$own/reply" "$own/data" || fail 77 "$own cannot be written"

# Opened for both first, which never waits. Then only a living receiver keeps the pipe readable: a write to it fails at once
# when there is none.
trap '' PIPE
exec 3<>"$folder/requests"
exec 4>"$folder/requests" 3<&-

(
  printf '%s\n' "${own##*/}" 2>/dev/null >&4 || exit 102
  # Each waits until the receiver opens its side. When the receiver dies, the kernel closes it.
  exec 5<"$own/reply" 6>"$own/data"
  {
    printf 'helvino-wal 1 %s %s %s\n' "$size" "$name" "$cluster"
    cat "$path"
  } 2>/dev/null >&6
  exec 6>&-
  read -r verdict status message <&5 || exit 101
  [ "$verdict" = stored ] && exit 0
  [ "$verdict" = refused ] || exit 101
  printf 'helvino: %s: %s\n' "$name" "$message" >&2
  exit "$status"
) &
worker=$!

# Each second, whether the receiver still listens: it cannot answer when it died before it opened our pipes. In a process of
# its own each time, since the pipe may be full when the receiver stands still.
(
  left=$seconds
  while [ "$left" -gt 0 ]; do
    sleep 1
    left=$((left - 1))
    (echo >&4 || kill -HUP "$worker") &
  done
  kill -TERM "$worker"
) </dev/null >/dev/null 2>&1 &
watchdog=$!

# A shell may say here that it was killed; we say why.
wait "$worker" 2>/dev/null
status=$?
worker=
case $status in
102) fail 75 "no receiver listens in $folder: start helvino wal receive" ;;
101 | 129) fail 75 "$name: the receiver went away before it answered" ;;
143) fail 75 "$name: the receiver did not answer within $seconds seconds" ;;
esac
[ "$status" -le 125 ] || status=75
exit "$status"
