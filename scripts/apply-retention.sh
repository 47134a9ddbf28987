#!/usr/bin/env bash
# Retention without anyone who looks, for cron: prints the plan, so that the log shows it, then applies exactly that plan.
#   30 4 * * * /opt/helvino/scripts/apply-retention.sh --config /etc/helvino/helvino.yaml >> /var/log/helvino-retention.log 2>&1
# Arguments go to both verbs, e.g. --database shop. When anything changes in between, nothing is done (exit status 75).
set -euo pipefail

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HELVINO="${HELVINO:-$home/engine/bin/helvino.mjs}"
PATH="$PATH:/usr/local/bin:/usr/bin:/bin:$home/node_modules/node/bin"

shown=$("$HELVINO" --quiet retention preview "$@")
printf '%s\n' "$shown"
plan=$(printf '%s\n' "$shown" | sed -n 's/^plan \([0-9a-f]\{12\}\): .*/\1/p')
exec "$HELVINO" --quiet retention apply --plan "$plan" "$@"
