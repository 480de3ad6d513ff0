-- The changed fields of an audit entry and the clients of a key get tables of their own. In version
-- 1 they were JSON in the columns `audit.changes` and `usage.sources`.
CREATE TABLE audit_changes (
    revision INTEGER NOT NULL REFERENCES audit (revision),
    position INTEGER NOT NULL,
    field TEXT NOT NULL,
    old_value TEXT,
    new_value TEXT,
    PRIMARY KEY (revision, position)
) STRICT, WITHOUT ROWID;

INSERT INTO audit_changes (revision, position, field, old_value, new_value)
SELECT a.revision, c.key, c.value ->> 'field', c.value ->> 'from', c.value ->> 'to'
FROM audit a, json_each(a.changes) c;

ALTER TABLE audit DROP COLUMN changes;

-- The clients of a key have different slots. A new client may get the slot of a removed one.
CREATE TABLE clients (
    key_id INTEGER NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    slot INTEGER NOT NULL,
    address TEXT NOT NULL,
    user_agent TEXT,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (key_id, slot)
) STRICT, WITHOUT ROWID;

INSERT INTO clients (key_id, slot, address, user_agent, last_used_at)
SELECT
    u.key_id, c.key, c.value ->> 'address', c.value ->> 'userAgent',
    c.value ->> 'lastUsedTimestamp'
FROM usage u, json_each(u.sources) c;

ALTER TABLE usage DROP COLUMN sources;
