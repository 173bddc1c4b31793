#!/bin/bash
# Creates the users of influxd and becomes influxd: deploy/local/influxd.py with what the image has.
#
# While InfluxDB has no users, anyone who reaches it may create its first admin. So it is not
# reachable before the users exist: a first influxd runs only on the folder with the users, and
# listens on a socket that nobody else can reach. Every step may be repeated. No password is in a
# command line.
set -euo pipefail
umask 077
credentials=${SLUICE_CREDENTIALS:-/var/lib/sluice/credentials}
export INFLUXDB_META_DIR=${INFLUXDB_META_DIR:-/var/lib/influxdb/meta}
export INFLUXDB_DATA_DIR=${INFLUXDB_DATA_DIR:-/var/lib/influxdb/data}
export INFLUXDB_DATA_WAL_DIR=${INFLUXDB_DATA_WAL_DIR:-/var/lib/influxdb/wal}
done=$INFLUXDB_META_DIR/users-made

keep() { printf '%s:%s' "$1" "$2" >"$credentials/.$1" && mv "$credentials/.$1" "$credentials/$1"; }

for role in admin writer reader; do
  [ -s "$credentials/$role" ] || keep "$role" "$(head -c 32 /dev/urandom | base64 | tr -d '+/=\n')"
done
case ${INFLUX_PASSWORD:-} in
  '') ;;
  *[!A-Za-z0-9_-]*) echo 'SLUICE_INFLUX_READER_PASSWORD: letters, digits, - and _ only.' >&2; exit 2 ;;
  *) keep reader "$INFLUX_PASSWORD" ;;
esac
# The worker's container sees this folder, but may read only the file of the writer.
chmod 711 "$credentials"
chown "${SLUICE_WORKER_USER:-10001}" "$credentials/writer"

digest=$(cat "$credentials"/{admin,writer,reader} | sha256sum)
if [ "$(cat "$done" 2>/dev/null)" != "$digest" ]; then
  scratch=$(mktemp -d)
  # Without the rows it starts quickly, however many there are, and can remove none.
  INFLUXDB_BIND_ADDRESS=127.0.0.1:0 INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:0 \
    INFLUXDB_HTTP_UNIX_SOCKET_ENABLED=true INFLUXDB_HTTP_BIND_SOCKET=$scratch/influxd.sock \
    INFLUXDB_DATA_DIR=$scratch/data INFLUXDB_DATA_WAL_DIR=$scratch/wal \
    INFLUXDB_RETENTION_ENABLED=false INFLUXDB_SHARD_PRECREATION_ENABLED=false influxd &
  first=$!
  trap 'kill "$first"' EXIT
  for _ in {1..300}; do [ -S "$scratch/influxd.sock" ] && break; sleep 0.1; done

  password() { cut -d: -f2 "$credentials/$1"; }
  ask() {
    INFLUX_USERNAME=admin INFLUX_PASSWORD=$(password admin) \
      influx -socket "$scratch/influxd.sock" >/dev/null 2>&1
  }
  ask <<<"CREATE USER admin WITH PASSWORD '$(password admin)' WITH ALL PRIVILEGES" || true
  ask <<<'SHOW USERS' || {
    echo "InfluxDB has an admin whose password is not the one in $credentials/admin." >&2; exit 1; }
  ask <<<'CREATE DATABASE "logs"'
  for role in writer reader; do
    ask <<<"CREATE USER $role WITH PASSWORD '$(password $role)'" ||
      ask <<<"SET PASSWORD FOR $role = '$(password $role)'"
    ask <<<"REVOKE ALL PRIVILEGES FROM $role"
  done
  ask <<<'GRANT WRITE ON "logs" TO writer'
  ask <<<'GRANT READ ON "logs" TO reader'
  trap - EXIT
  kill "$first"; wait "$first" || true
  rm -rf "$scratch"
  printf '%s\n' "$digest" >"$done"
fi
exec influxd
