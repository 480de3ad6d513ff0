-- What a key is for: `ingestion` or `follower`. Before version 2, every key was for ingestion. The
-- default is also for gateways of version 1 that still run: they insert keys without a role.
ALTER TABLE ingestion_keys.keys ADD COLUMN role text NOT NULL DEFAULT 'ingestion';
ALTER TABLE ingestion_keys.tombstones ADD COLUMN role text NOT NULL DEFAULT 'ingestion';
