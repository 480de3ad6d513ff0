-- Before version 3, `accepted` counted every request that was let in. From version 3 on, it counts
-- the requests that were answered with success, and `failed` counts the others.
ALTER TABLE usage ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;

-- A random id that changes before each checkpoint. It tells the database file from every copy of an
-- earlier state.
ALTER TABLE last_change ADD COLUMN checkpoint_id BLOB NOT NULL DEFAULT x'';
UPDATE last_change SET checkpoint_id = randomblob(16);
