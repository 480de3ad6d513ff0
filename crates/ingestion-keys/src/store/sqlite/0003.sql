-- Before version 3, `accepted` counted every request that was let in. From version 3 on, it counts the
-- requests that were answered with success, and `failed` counts the others.
ALTER TABLE usage ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
