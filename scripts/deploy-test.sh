#!/usr/bin/env bash
# What is in deploy/, for real: the image is built and run, the compose file is brought up, the systemd units are installed and run under
# systemd as the first process of a container. With a Docker engine of its own and base images made here, since no registry is asked:
# Debian by debootstrap, Node.js from this machine, PostgreSQL 15 from Debian with a stand-in for the entrypoint of the official image.
#   scripts/deploy-test.sh            (npm test -- --slow deploy)
# Wants root, dockerd, docker-compose or the compose plugin, debootstrap, Node.js with npm; 3 GB and ten minutes.
# DEPLOY_TEST_ROOT: a folder with a minimal Debian that was made before.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$(mktemp -d "${TMPDIR:-/tmp}/hv-deploy-XXXXXX")
export DOCKER_HOST=unix://$home/docker.sock PG_MAJOR=15 POSTGRES_PASSWORD='p w"$x'
compose=(docker-compose)
if docker compose version >/dev/null 2>&1; then compose=(docker compose); fi
compose+=(-f "$project/deploy/compose.yaml")

step() { echo "=== $*"; }
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
expect() { # TEXT WHAT: what is read has the text
  local read
  read=$(cat)
  [[ "$read" == *"$1"* ]] || fail "$2: no \"$1\" in: $read"
}

end() {
  local status=$?
  [ "$status" -eq 0 ] || tail -n 20 "$home"/*.log >&2
  docker ps -aq 2>/dev/null | xargs -r docker rm -f -v >/dev/null 2>&1 || true
  if [ -s "$home/pid" ]; then
    kill "$(cat "$home/pid")" || true
    while [ -s "$home/pid" ]; do sleep 0.2; done
  fi
  # The engine leaves its network namespace mounted.
  awk -v home="$home/" 'index($2, home) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  rm -rf "$home"
}
trap end EXIT

start_engine() {
  dockerd --data-root="$home/data" --exec-root="$home/exec" --pidfile="$home/pid" --host="$DOCKER_HOST" >"$home/dockerd.log" 2>&1 &
  for _ in $(seq 90); do
    docker version >/dev/null 2>&1 && return
    sleep 1
  done
  fail 'dockerd does not start'
}

build() { # TAG FOLDER: without Docker's own network, which may lead nowhere
  docker build --network host -q -t "$1" "$2" >>"$home/build.log" 2>&1 || fail "the image $1 cannot be built"
}

make_bases() {
  local root=${DEPLOY_TEST_ROOT:-$home/root} mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
  [ -d "$root" ] || debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$home/debootstrap.log"
  tar -C "$root" -c . | docker import - debian-base >/dev/null

  mkdir "$home/node" "$home/postgres" "$home/systemd"
  cp -L "$(command -v node)" "$home/node/node"
  cp -a "$(npm root -g)/npm" "$home/node/npm"
  # Where the machine trusts a proxy of its own, the image has to.
  cp "${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" "$home/node/ca.crt"
  cat >"$home/node/Dockerfile" <<'FILE'
FROM debian-base
COPY node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
FILE
  build node:20-bookworm-slim "$home/node"

  # As the official image: a server without TCP makes the cluster, runs the scripts, and ends before the real one starts.
  cat >"$home/postgres/entrypoint" <<'FILE'
#!/bin/bash
set -eu
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -U "$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl -w -o '-c listen_addresses=' start
  createdb -U "$POSTGRES_USER" "$POSTGRES_USER"
  for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
  # Long enough for a health check that believes it.
  sleep 12
  pg_ctl -w stop
fi
exec "$@"
FILE
  chmod 755 "$home/postgres/entrypoint"
  cat >"$home/postgres/Dockerfile" <<'FILE'
FROM debian-base
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-common \
  && sed -i 's/^#create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
  && apt-get install -y --no-install-recommends postgresql-15 \
  && echo "listen_addresses = '*'" >> /usr/share/postgresql/15/postgresql.conf.sample
ENV PATH=$PATH:/usr/lib/postgresql/15/bin PGDATA=/var/lib/postgresql/data
COPY entrypoint /usr/local/bin/entrypoint
ENTRYPOINT ["entrypoint"]
STOPSIGNAL SIGINT
CMD ["postgres"]
FILE
  build postgres:15-bookworm "$home/postgres"
  docker tag postgres:15-bookworm postgres:15

  cat >"$home/systemd/Dockerfile" <<'FILE'
FROM debian-base
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    systemd systemd-sysv dbus postgresql-15 libatomic1 \
  && systemctl mask getty.target console-getty.service systemd-logind.service
COPY --from=helvino:15 /opt/helvino /opt/helvino
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
FILE
}

helvino() { "${compose[@]}" run --rm helvino "$@" </dev/null 2>&1; }

try_compose() {
  step 'compose: up, init as soon as the server is healthy'
  "${compose[@]}" up -d postgres >"$home/compose.log" 2>&1
  local id=(--identity helvino-recovery-identity.txt)
  helvino init --url postgresql://helvino@postgres/postgres --password-env POSTGRES_PASSWORD --path /var/backups/helvino \
    --database helvino | expect 'Ready. Next: helvino backup' init
  docker inspect -f '{{.State.Health.Status}}' helvino-postgres | expect healthy 'the health of the server'
  docker exec helvino-postgres psql -q -U helvino -c 'create table t as select i, md5(i::text) from generate_series(1, 20000) i'
  "${compose[@]}" up -d wal >>"$home/compose.log" 2>&1
  step 'compose: backup, dump, verify, drill, restore'
  helvino backup | expect 'is complete' backup
  helvino backup --kind logical --dbname helvino | expect 'is complete' dump
  helvino verify | expect 'passed: 2 backups' verify
  helvino drill "${id[@]}" | expect 'PROVEN' drill
  helvino restore --to-database copy --dbname helvino "${id[@]}" | expect 'copy is restored' restore
  docker exec helvino-postgres psql -qtA -U helvino -d copy -c 'select count(*) from t' | expect 20000 'the restored rows'
  step 'compose: the WAL stream is stopped by a signal, and goes on'
  local wal
  wal=$("${compose[@]}" ps -q wal)
  docker stop -t 60 "$wal" >/dev/null
  docker inspect -f '{{.State.ExitCode}}' "$wal" | expect 0 'the status of a stopped stream'
  docker logs "$wal" 2>&1 | expect 'stopped; WAL is stored up to' 'the last words of the stream'
  docker start "$wal" >/dev/null
  for _ in $(seq 30); do helvino wal status | grep -q 'a stream uses it' && break; done
  helvino wal status | expect 'a stream uses it' 'the stream after its start'
  "${compose[@]}" down -v >>"$home/compose.log" 2>&1
}

# All that this process has: --privileged wants what it may lack itself.
capabilities() {
  local names=(CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG)
  local bound i
  bound=$((16#$(sed -n 's/^CapBnd:\s*//p' /proc/self/status)))
  for i in "${!names[@]}"; do
    if (((bound >> i) & 1)); then echo "--cap-add=${names[$i]}"; fi
  done
}

try_units() {
  step 'systemd: the first process of a container'
  build systemd "$home/systemd"
  local words
  mapfile -t words < <(capabilities)
  docker run -d --name units "${words[@]}" --security-opt seccomp=unconfined --security-opt apparmor=unconfined --cgroupns=host \
    --tmpfs /run --tmpfs /tmp -v /sys/fs/cgroup:/sys/fs/cgroup:rw systemd >/dev/null
  for folder in deploy scripts docs; do docker cp "$project/$folder" units:/opt/helvino/; done
  for _ in $(seq 60); do
    [[ $(docker exec units systemctl is-system-running 2>&1) != running ]] || break
    sleep 1
  done
  docker exec units bash /opt/helvino/scripts/deploy-test-units.sh || fail 'the units'
  docker stop units >/dev/null
}

step 'an engine and base images of our own'
start_engine
make_bases
step 'deploy/Dockerfile'
docker build --network host -f "$project/deploy/Dockerfile" --build-arg PG_MAJOR=15 -t helvino:15 "$project" >>"$home/build.log" 2>&1
docker run --rm helvino:15 version | expect 'helvino ' version
# What compose would build, under the names that its two generations give.
for name in deploy_helvino deploy_wal deploy-helvino deploy-wal; do docker tag helvino:15 $name; done
try_compose
try_units
echo 'all of deploy/ ran'
