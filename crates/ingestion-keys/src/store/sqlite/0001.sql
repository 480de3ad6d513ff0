-- One row: the last change. A change that is made here and in `changes` is one transaction.
CREATE TABLE last_change (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
) STRICT;

-- What a cursor may stand on.
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    change_id BLOB NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

-- The random id of the first change tells this database from every other.
INSERT INTO last_change (only, revision) VALUES (1, 0);
INSERT INTO changes (revision, change_id, changed_at) VALUES (0, randomblob(16), 0);

CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    digest BLOB NOT NULL,
    expires_at INTEGER,
    enabled INTEGER NOT NULL,
    name TEXT NOT NULL,
    key_start TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    successor INTEGER,
    description TEXT
) STRICT;
CREATE INDEX keys_by_revision ON keys (revision);
CREATE INDEX keys_by_name ON keys (name);

CREATE TABLE tombstones (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    digest BLOB NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tombstones_by_revision ON tombstones (revision);

-- Never deleted from: it is also what knows that an id was used.
CREATE TABLE audit (
    revision INTEGER PRIMARY KEY,
    changed_at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    key_id INTEGER NOT NULL,
    key_name TEXT NOT NULL,
    other_key_id INTEGER,
    changes TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_key ON audit (key_id);

CREATE TABLE usage (
    key_id INTEGER PRIMARY KEY REFERENCES keys (id) ON DELETE CASCADE,
    accepted INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_used_at INTEGER,
    sources TEXT NOT NULL
) STRICT;
