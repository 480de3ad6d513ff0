-- One row: the last change. Every change updates this row first, so that changes are made one after
-- the other, and a change is visible only after the change before it.
CREATE TABLE ingestion_keys.last_change (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    revision bigint NOT NULL
) WITH (fillfactor = 10);

-- What a cursor may stand on.
CREATE TABLE ingestion_keys.changes (
    revision bigint PRIMARY KEY,
    change_id bytea NOT NULL,
    changed_at bigint NOT NULL
);

-- The random id of the first change tells this database from every other.
INSERT INTO ingestion_keys.last_change (revision) VALUES (0);
INSERT INTO ingestion_keys.changes (revision, change_id, changed_at)
VALUES (0, uuid_send(gen_random_uuid()), 0);

CREATE TABLE ingestion_keys.keys (
    id bigint PRIMARY KEY,
    revision bigint NOT NULL,
    digest bytea NOT NULL,
    expires_at bigint,
    enabled boolean NOT NULL,
    name text NOT NULL,
    key_start text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    successor bigint,
    description text
);
CREATE INDEX keys_by_revision ON ingestion_keys.keys (revision);
CREATE INDEX keys_by_name ON ingestion_keys.keys (name);

CREATE TABLE ingestion_keys.tombstones (
    id bigint PRIMARY KEY,
    revision bigint NOT NULL,
    digest bytea NOT NULL,
    deleted_at bigint NOT NULL
);
CREATE INDEX tombstones_by_revision ON ingestion_keys.tombstones (revision);

-- Never deleted from: it is also what knows that an id was used.
CREATE TABLE ingestion_keys.audit (
    revision bigint PRIMARY KEY,
    changed_at bigint NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    key_id bigint NOT NULL,
    key_name text NOT NULL,
    other_key_id bigint
);
CREATE INDEX audit_by_key ON ingestion_keys.audit (key_id);

CREATE TABLE ingestion_keys.audit_changes (
    revision bigint NOT NULL REFERENCES ingestion_keys.audit (revision),
    position bigint NOT NULL,
    field text NOT NULL,
    old_value text,
    new_value text,
    PRIMARY KEY (revision, position)
);

-- A row of a deleted key stays until tombstones are removed the next time. A reference to `keys`
-- would make every write of usage lock the key, and a deletion would wait for it. The free room in
-- each page lets an update stay in its page.
CREATE TABLE ingestion_keys.usage (
    key_id bigint PRIMARY KEY,
    accepted bigint NOT NULL,
    failed bigint NOT NULL,
    denied bigint NOT NULL,
    bytes bigint NOT NULL,
    last_used_at bigint
) WITH (fillfactor = 50);

-- A client that sends no user agent has an empty one here.
CREATE TABLE ingestion_keys.clients (
    key_id bigint NOT NULL,
    address text NOT NULL,
    user_agent text NOT NULL,
    last_used_at bigint NOT NULL,
    PRIMARY KEY (key_id, address, user_agent)
) WITH (fillfactor = 50);
