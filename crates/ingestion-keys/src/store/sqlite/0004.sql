-- What a key is for: `ingestion` or `follower`. Before version 4, every key was for ingestion.
ALTER TABLE keys ADD COLUMN role TEXT NOT NULL DEFAULT 'ingestion';
ALTER TABLE tombstones ADD COLUMN role TEXT NOT NULL DEFAULT 'ingestion';
