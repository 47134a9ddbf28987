#!/usr/bin/env bash
# Is the newest backup file fresh, large enough and whole? For cron and Nagios: 0 good, 1 warning, 2 critical, 3 unknown.
# With a helvino.yaml (HELVINO_CONFIG, ./helvino.yaml, /etc/helvino/helvino.yaml) the repository is asked as well (`helvino health`).
set -uo pipefail

BACKUP_DIR="${BACKUP_DIR:-/var/backups/helvino/postgres}"
MAX_AGE_HOURS="${MAX_AGE_HOURS:-36}"
MIN_SIZE_KB="${MIN_SIZE_KB:-1024}"
HELVINO="${HELVINO:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/engine/bin/helvino.mjs}"
PATH="$PATH:/usr/local/bin:/usr/bin:/bin"

worst=0
problem() { # STATUS TEXT
  echo "❌ $2"
  [ "$1" -le "$worst" ] || worst=$1
}

latest=''
for file in "$BACKUP_DIR"/helvino_backup_*.sql.gz "$BACKUP_DIR"/helvino_backup_*.sql.gz.gpg; do
  [ -f "$file" ] || continue
  if [ -z "$latest" ] || [ "$file" -nt "$latest" ]; then latest="$file"; fi
done

if [ -z "$latest" ]; then
  problem 2 "ERROR: No backups found in $BACKUP_DIR"
else
  # date -r works on GNU and on BSD.
  age_hours=$((($(date +%s) - $(date -r "$latest" +%s)) / 3600))
  size_kb=$(($(wc -c <"$latest") / 1024))
  echo "📦 Latest backup: $latest"
  echo "📅 Age: $age_hours hours"
  echo "💾 Size: $size_kb KiB"
  [ "$age_hours" -le "$MAX_AGE_HOURS" ] || problem 2 "ERROR: Backup is older than $MAX_AGE_HOURS hours"
  [ "$size_kb" -ge "$MIN_SIZE_KB" ] || problem 1 "WARNING: Backup file suspiciously small (<$MIN_SIZE_KB KiB)"
  case "$latest" in
    *.gz) gzip -t "$latest" || problem 2 'ERROR: Backup file is damaged' ;;
  esac
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
