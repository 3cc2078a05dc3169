-- Trigrams, by which a search finds users by a part of their names. The indexes are made
-- afterwards, concurrently.
create extension if not exists pg_trgm;
