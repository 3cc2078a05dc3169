-- Servers of version 1 go on meanwhile and afterwards: they name their columns, and
-- what they leave out has a default. A migration that was interrupted starts again.
alter table users
    add column if not exists disabled    boolean not null default false,
    add column if not exists external_id text    collate "C", -- null for none
    add column if not exists attributes  jsonb   not null default '{}'; -- an object of strings
