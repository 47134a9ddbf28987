#!/bin/sh
# Run once by the postgres image when it makes the cluster: its pg_hba.conf lets nobody replicate over the network.
set -eu
echo 'host replication all samenet scram-sha-256' >> "$PGDATA/pg_hba.conf"
