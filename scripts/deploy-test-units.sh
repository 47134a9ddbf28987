#!/usr/bin/env bash
# The part of deploy-test.sh that runs inside the container whose first process is systemd: the units of deploy/, installed as
# docs/operations/schedule.md says, run, stopped, killed and made to fail. Helvino is in /opt/helvino.
set -euo pipefail

step() { echo "=== $*"; }
fail() {
  echo "FAILED: $*" >&2
  journalctl -u 'helvino-*' -o short-iso --no-pager -n 40 >&2
  exit 1
}
fields() { systemctl show "$1" -p "$2" --value; }
expect() { # UNIT PROPERTY VALUE, within a minute
  for _ in $(seq 60); do
    [ "$(fields "$1" "$2")" != "$3" ] || return 0
    sleep 1
  done
  fail "$2 of $1 is $(fields "$1" "$2"), not $3"
}
# By hand as the units do it.
helvino() {
  systemd-run --quiet --wait --pipe --collect --uid=helvino -p EnvironmentFile=/etc/helvino/environment -p WorkingDirectory=/etc/helvino \
    /opt/helvino/node_modules/node/bin/node /opt/helvino/engine/bin/helvino.mjs "$@"
}
override() { # UNIT TEXT
  mkdir -p "/etc/systemd/system/$1.d"
  printf '%s\n' "$2" >"/etc/systemd/system/$1.d/test.conf"
  systemctl daemon-reload
}

step 'systemd: installed as the page says'
cd /opt/helvino
install -m 644 deploy/helvino-* /etc/systemd/system/
systemctl daemon-reload
useradd --system --home-dir /var/lib/helvino --shell /usr/sbin/nologin helvino
install -d -o helvino -g helvino -m 700 /etc/helvino /var/backups/helvino
install -m 600 /dev/null /etc/helvino/environment
echo 'BACKUP_PASSWORD=a word' >>/etc/helvino/environment
printf '#!/bin/sh\necho "$1" >> /run/helvino-failures\n' >/etc/helvino/on-failure
chmod 755 /etc/helvino/on-failure
touch /run/helvino-failures
runuser -u postgres -- psql -q <<'SQL'
create role backup login superuser password 'a word';
create table t as select i, md5(i::text) from generate_series(1, 20000) i;
SQL
systemd-analyze verify /etc/systemd/system/helvino-* || fail 'systemd-analyze verify'
for unit in helvino-backup@physical helvino-retention helvino-wal; do
  score=$(systemd-analyze security --no-pager $unit.service | sed -n 's/.*Overall exposure level.*: \([0-9]\).*/\1/p')
  [ "$score" -le 2 ] || fail "exposure of $unit: $score"
done
helvino init --url postgresql://backup@127.0.0.1/postgres --password-env BACKUP_PASSWORD --path /var/backups/helvino --database main >/dev/null

step 'systemd: timers fire, backups are made'
for name in helvino-backup@ helvino-retention; do
  override $name.timer $'[Timer]\nOnCalendar=\nOnCalendar=*:*:0/10\nRandomizedDelaySec=0\nAccuracySec=1s'
done
# So often nobody starts them.
override helvino-backup@.service $'[Unit]\nStartLimitIntervalSec=0'
override helvino-retention.service $'[Unit]\nStartLimitIntervalSec=0'
systemctl enable --now --quiet helvino-wal.service helvino-backup@physical.timer helvino-backup@logical.timer
for kind in full logical; do
  for _ in $(seq 60); do
    helvino list | grep -q " $kind " && break
    sleep 1
  done
  helvino list | grep -q " $kind " || fail "no $kind backup"
done
systemctl stop helvino-backup@physical.timer helvino-backup@logical.timer
for unit in helvino-backup@physical helvino-backup@logical; do expect $unit ActiveState inactive; done
# Alone: a backup that comes between its plan and its end is a reason to try again.
systemctl start helvino-retention.timer
for _ in $(seq 60); do
  said=$(journalctl -u helvino-retention -o cat --no-pager)
  [[ "$said" != *'removed: 0 backups'* ]] || break
  sleep 1
done
[[ "$said" == *'removed: 0 backups'* ]] || fail 'retention did not run'
systemctl stop helvino-retention.timer
expect helvino-retention ActiveState inactive
[ ! -s /run/helvino-failures ] || fail "failures: $(cat /run/helvino-failures)"
systemctl reset-failed

step 'systemd: the WAL stream is killed, goes on, outlives a restart of the server, ends well'
kill -KILL "$(fields helvino-wal MainPID)"
expect helvino-wal NRestarts 1
expect helvino-wal ActiveState active
for _ in $(seq 60); do helvino wal status | grep -q 'a stream uses it' && break; done
systemctl restart postgresql@15-main
for _ in $(seq 60); do helvino wal status | grep -q 'a stream uses it' && break; done
helvino wal status | grep -q 'a stream uses it' || fail 'no stream after a restart of the server'
systemctl stop helvino-wal
[ "$(fields helvino-wal Result) $(fields helvino-wal ExecMainStatus)" = 'success 0' ] || fail 'the stream did not end well'

step 'systemd: what cannot pass has failed at once, what can after five tries; both are told'
unit=helvino-backup@logical.service
sed -i 's/a word/wrong/' /etc/helvino/environment
systemctl start $unit 2>/dev/null && fail 'a backup with a wrong password'
expect $unit ActiveState failed
[ "$(fields $unit NRestarts) $(fields $unit ExecMainStatus)" = '0 77' ] || fail 'a wrong password was tried again'
systemctl is-failed --quiet $unit || fail 'systemctl does not say that it failed'
sed -i 's/wrong/a word/' /etc/helvino/environment
systemctl reset-failed
override helvino-backup@.service $'[Service]\nRestartSec=1'
systemctl stop postgresql@15-main
systemctl start $unit 2>/dev/null && fail 'a backup of a server that is away'
expect $unit ActiveState failed
[ "$(fields $unit NRestarts)" = 5 ] || fail "$(fields $unit NRestarts) tries"
systemctl start postgresql@15-main
systemctl reset-failed
systemctl start $unit || fail 'a backup after all that'
mv /etc/helvino/helvino.yaml /root/
systemctl start helvino-wal
expect helvino-wal ActiveState failed
for _ in $(seq 20); do
  [ "$(wc -l </run/helvino-failures)" -lt 3 ] || break
  sleep 0.5
done
printf '%s\n' $unit $unit helvino-wal.service | diff - /run/helvino-failures || fail 'what was told'
