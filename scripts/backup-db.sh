#!/usr/bin/env bash
# Daily database backup, for cron:
#   0 2 * * * /opt/helvino/scripts/backup-db.sh >> /var/log/helvino-backup.log 2>&1
# The guide's variables; all that is careful (a dump that fails midway never counts, names appear only when files are whole,
# old files go only once a new one is there) is in `helvino backup --kind logical --to-folder`.
set -euo pipefail

DB_NAME="${DB_NAME:-helvino_prod}"
DB_USER="${DB_USER:-helvino}"
DB_HOST="${DB_HOST:-localhost}"
DB_PORT="${DB_PORT:-5432}"
BACKUP_DIR="${BACKUP_DIR:-/var/backups/helvino/postgres}"
RETENTION_DAYS="${RETENTION_DAYS:-30}"
# Optional: DB_PASSWORD (else ~/.pgpass), GPG_RECIPIENT (encrypts: .sql.gz.gpg), S3_TARGET (s3://bucket/prefix/, wants aws).
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HELVINO="${HELVINO:-$home/engine/bin/helvino.mjs}"
# cron's own PATH is short. Last the Node.js that `npm ci` brings, for machines without one.
PATH="$PATH:/usr/local/bin:/usr/bin:/bin:$home/node_modules/node/bin"

export PGHOST="$DB_HOST" PGPORT="$DB_PORT" PGUSER="$DB_USER"
[ -z "${DB_PASSWORD:-}" ] || export PGPASSWORD="$DB_PASSWORD"

arguments=(backup --kind logical --url postgresql:// --dbname "$DB_NAME" --to-folder "$BACKUP_DIR" --keep-days "$RETENTION_DAYS")
[ -z "${GPG_RECIPIENT:-}" ] || arguments+=(--gpg-recipient "$GPG_RECIPIENT")

echo "🗄️  Starting backup of $DB_NAME into $BACKUP_DIR"
if ! output=$("$HELVINO" --quiet "${arguments[@]}"); then
  echo '❌ Backup failed!'
  exit 1
fi
printf '%s\n' "$output"
# The first words are its name, whatever the folder is called.
file="${output%%" is complete"$'\n'*}"
echo "✅ Backup completed: $file"

if [ -n "${S3_TARGET:-}" ]; then
  if ! aws s3 cp "$file" "${S3_TARGET%/}/" --storage-class STANDARD_IA; then
    echo "❌ Upload to $S3_TARGET failed; the backup is in $file only"
    exit 1
  fi
  echo "☁️  Uploaded to $S3_TARGET"
fi
