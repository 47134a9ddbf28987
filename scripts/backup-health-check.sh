#!/usr/bin/env bash
# Is the newest backup file fresh, large enough and whole? For cron and Nagios: 0 good, 1 warning, 2 critical, 3 unknown.
# With a helvino.yaml (HELVINO_CONFIG, ./helvino.yaml, /etc/helvino/helvino.yaml) the repository is asked as well (`helvino health`).
set -uo pipefail

BACKUP_DIR="${BACKUP_DIR:-/var/backups/helvino/postgres}"
MAX_AGE_HOURS="${MAX_AGE_HOURS:-36}"
MIN_SIZE_KB="${MIN_SIZE_KB:-1024}"
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HELVINO="${HELVINO:-$home/engine/bin/helvino.mjs}"
PATH="$PATH:/usr/local/bin:/usr/bin:/bin:$home/node_modules/node/bin"

worst=0
problem() { # STATUS TEXT
  echo "❌ $2"
  [ "$1" -le "$worst" ] || worst=$1
}

now=$(date +%s)

# When the dump in a file began, as its name says (UTC): seconds since 1970, or nothing. The days are counted here since GNU's and BSD's
# date read a time in different words.
named_at() { # FILE
  local digits year month day
  digits=$(printf '%s' "${1##*/}" | sed -n 's/^helvino_backup_\([0-9]\{8\}\)_\([0-9]\{6\}\)\.sql\.gz.*$/\1\2/p')
  [ -n "$digits" ] || return 0
  year=$((10#${digits:0:4})) month=$((10#${digits:4:2})) day=$((10#${digits:6:2}))
  # From March on, so that the leap day comes last.
  if [ "$month" -le 2 ]; then year=$((year - 1)) month=$((month + 12)); fi
  echo $(((365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 719469) * 86400 \
    + 10#${digits:8:2} * 3600 + 10#${digits:10:2} * 60 + 10#${digits:12:2}))
}

# The newest. One that is dated in the future would stay the newest for as long as nobody looks.
latest='' latest_time=0
for file in "$BACKUP_DIR"/helvino_backup_*.sql.gz "$BACKUP_DIR"/helvino_backup_*.sql.gz.gpg; do
  [ -f "$file" ] || continue
  # date -r works on GNU and on BSD. Retention may have removed the file meanwhile.
  time=$(date -r "$file" +%s 2>/dev/null) || continue
  if [ "$time" -gt $((now + 3600)) ]; then
    problem 2 "ERROR: $file is dated in the future; is the clock right?"
    continue
  fi
  # A copy has the time of its copying, its name that of the dump. Names that the guide's own script has given are local time.
  named=$(named_at "$file")
  if [ -n "$named" ] && [ "$named" -lt $((time - 14 * 3600)) ]; then time=$named; fi
  if [ "$time" -gt "$latest_time" ]; then latest="$file" latest_time=$time; fi
done

if [ -z "$latest" ]; then
  problem 2 "ERROR: No backups found in $BACKUP_DIR"
else
  age_hours=$(((now - latest_time) / 3600))
  bytes=$(wc -c <"$latest")
  size_kb=$((bytes / 1024))
  echo "📦 Latest backup: $latest"
  echo "📅 Age: $age_hours hours"
  echo "💾 Size: $size_kb KiB"
  [ "$age_hours" -le "$MAX_AGE_HOURS" ] || problem 2 "ERROR: Backup is older than $MAX_AGE_HOURS hours"
  if [ "$bytes" -eq 0 ]; then
    problem 2 'ERROR: Backup file is empty'
  else
    [ "$size_kb" -ge "$MIN_SIZE_KB" ] || problem 1 "WARNING: Backup file suspiciously small (<$MIN_SIZE_KB KiB)"
    # Packed well says nothing of what was packed: `pg_dump | gzip` ends its file well when pg_dump did not. Only the recipient can
    # look into an encrypted one.
    case "$latest" in
      *.gz)
        if ! end=$(gzip -cd <"$latest" | tail -c 1024 | tr -d '\0'); then
          problem 2 'ERROR: Backup file is damaged'
        elif [[ "$end" != *'PostgreSQL database dump complete'* ]]; then
          problem 2 'ERROR: Backup file breaks off before the end of the dump'
        fi
        ;;
    esac
  fi
fi

if [ -n "${HELVINO_CONFIG:-}" ] || [ -f helvino.yaml ] || [ -f /etc/helvino/helvino.yaml ]; then
  "$HELVINO" health
  status=$?
  # The same four statuses; what ends otherwise could not look at all. What is known to be bad goes before what is unknown.
  [ "$status" -le 3 ] || status=3
  if [ "$status" -eq 3 ]; then
    [ "$worst" -ne 0 ] || worst=3
  elif [ "$status" -gt "$worst" ]; then
    worst=$status
  fi
fi

[ "$worst" -ne 0 ] || echo '✅ Backup health check passed'
exit "$worst"
