#!/usr/bin/env bash
# A real S3 server for tests: the Ceph RADOS Gateway of Debian, with one monitor and one store in memory. Nothing is left
# behind but the packages.
#   scripts/s3-server.sh install                            exit status 77 when that is not possible here, with a word why
#   scripts/s3-server.sh start FOLDER PORT MONITOR_PORT     FOLDER is made; prints "ready URL ACCESS_KEY SECRET_KEY"
#   scripts/s3-server.sh user FOLDER NAME                   one more user; the keys are NAME-key and NAME-secret
#   scripts/s3-server.sh role FOLDER NAME USER              a role that only USER takes: arn:aws:iam:::role/NAME
#   scripts/s3-server.sh stop FOLDER                        ends the programs and removes FOLDER
# Wants bash, and apt-get and root if the packages are missing.
set -euo pipefail

programs=(ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin)

missing() {
  local program
  for program in "${programs[@]}"; do
    command -v "$program" >/dev/null || return 0
  done
  return 1
}

install() {
  missing || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo 'the Ceph RADOS Gateway is not installed, and installing it needs root and apt-get' >&2
    exit 77
  fi
  # Several test processes may come here at once.
  exec 9>/tmp/helvino-s3-install.lock
  flock 9
  missing || return 0
  local packages=(ceph-common ceph-mon ceph-osd radosgw)
  local get=(apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
  export DEBIAN_FRONTEND=noninteractive
  if ! "${get[@]}" install --no-install-recommends "${packages[@]}" >&2; then
    "${get[@]}" update >&2
    "${get[@]}" install --no-install-recommends "${packages[@]}" >&2
  fi
  flock -u 9
}

write_configuration() {
  local folder=$1 port=$2 monitor_port=$3
  cat >"$folder/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$monitor_port]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
mon warn on insecure global id reclaim allowed = false
mon warn on pool no redundancy = false
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
mon cluster log file = $folder/cluster.log
mon tick interval = 1
paxos propose interval = 0.02
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
run dir = $folder
crash dir = $folder
pid file =
admin socket = $folder/\$name.\$pid.asok
log file = $folder/\$name.log
debug mon = 0/0
debug osd = 0/0
debug paxos = 0/0
debug rocksdb = 0/0
debug ms = 0/0
[mon]
mon data = $folder/mon
[osd]
osd data = $folder/osd
osd journal = $folder/osd/journal
osd objectstore = memstore
osd max scrubs = 0
memstore device bytes = 4294967296
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw dns name = localhost
rgw data = $folder/rgw
rgw thread pool size = 64
rgw enable usage log = false
rgw s3 auth use sts = true
rgw sts key = $(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n')
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = k1=$(head -c 32 /dev/urandom | base64)
CONF
}

# Waits for a command to succeed; fails when the program of the last argument has ended.
await() {
  local what=$1 pid=$2
  shift 2
  local deadline=$((SECONDS + 240))
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "$what did not come up; its logs:" >&2
      tail -n 5 "$CEPH_FOLDER"/*.out "$CEPH_FOLDER"/*.log >&2 || true
      stop "$CEPH_FOLDER"
      exit 1
    fi
    sleep 0.1
  done
}

osd_is_up() {
  ceph --connect-timeout 5 osd stat 2>/dev/null | grep -q '1 up'
}

storage_classes() {
  local class
  for class in STANDARD_IA GLACIER DEEP_ARCHIVE; do
    radosgw-admin -n client.rgw zonegroup placement add --rgw-zonegroup default \
      --placement-id default-placement --storage-class "$class"
    radosgw-admin -n client.rgw zone placement add --rgw-zone default \
      --placement-id default-placement --storage-class "$class" --data-pool "default.rgw.buckets.$class"
  done
}

user() {
  radosgw-admin -n client.rgw user create --uid="$1" --display-name="$1" \
    --access-key="$1-key" --secret-key="$1-secret"
}

start() {
  local folder=$1 port=$2 monitor_port=$3 fsid osd_id
  install
  fsid=$(cat /proc/sys/kernel/random/uuid)
  osd_id=$(cat /proc/sys/kernel/random/uuid)
  mkdir -p "$folder"/{mon,osd,rgw}
  export CEPH_CONF=$folder/ceph.conf CEPH_FOLDER=$folder
  write_configuration "$folder" "$port" "$monitor_port"

  monmaptool --create --clobber --fsid "$fsid" --set-min-mon-release pacific \
    --addv a "[v2:127.0.0.1:$monitor_port]" "$folder/monmap" >/dev/null
  ceph-mon -i a --mkfs --monmap "$folder/monmap" >"$folder/mon-make.out" 2>&1
  ceph-mon -i a -f >"$folder/mon.out" 2>&1 &
  echo $! >"$folder/mon.pid"
  await 'the monitor' "$(cat "$folder/mon.pid")" ceph --connect-timeout 5 mon stat

  ceph osd new "$osd_id" 0 >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd_id" >"$folder/osd-make.out" 2>&1
  ceph-osd -i 0 -f >"$folder/osd.out" 2>&1 &
  echo $! >"$folder/osd.pid"
  await 'the object store' "$(cat "$folder/osd.pid")" osd_is_up

  user root >>"$folder/admin.out" 2>&1
  storage_classes >>"$folder/admin.out" 2>&1
  radosgw -n client.rgw -f >"$folder/rgw.out" 2>&1 &
  echo $! >"$folder/rgw.pid"
  await 'the gateway' "$(cat "$folder/rgw.pid")" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  echo "ready http://127.0.0.1:$port root-key root-secret"
}

# May do everything with every bucket of its own account, and is taken by the user alone.
role() {
  local trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam:::user/%s"]},"Action":["sts:AssumeRole"]}]}'
  local rights='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}'
  # shellcheck disable=SC2059
  radosgw-admin -n client.rgw role create --role-name="$1" --assume-role-policy-doc="$(printf "$trust" "$2")"
  radosgw-admin -n client.rgw role-policy put --role-name="$1" --policy-name=all --policy-doc="$rights"
}

stop() {
  local folder=$1 program pid
  for program in rgw osd mon; do
    [ -f "$folder/$program.pid" ] || continue
    pid=$(cat "$folder/$program.pid")
    # Nothing in memory is to be kept.
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}

case ${1:-} in
  install) install ;;
  start) start "$2" "$3" "$4" ;;
  user)
    export CEPH_CONF=$2/ceph.conf
    user "$3" >>"$2/admin.out" 2>&1
    ;;
  role)
    export CEPH_CONF=$2/ceph.conf
    role "$3" "$4" >>"$2/admin.out" 2>&1
    ;;
  stop) stop "$2" ;;
  *)
    echo 'usage: s3-server.sh install | start FOLDER PORT MONITOR_PORT | user FOLDER NAME | role FOLDER NAME USER | stop FOLDER' >&2
    exit 64
    ;;
esac
