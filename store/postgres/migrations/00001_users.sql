create type change_kind as enum ('upserted', 'deleted');

-- Collation "C" folds and orders ASCII alone, whatever the locale of the
-- database: what two emails or roles are to one another is the same on every
-- server and engine.
create table users (
    id           uuid        primary key,
    email        text        collate "C" not null,
    display_name text        not null,
    folded_name  text        collate "C" not null, -- display_name in lower case, by one rule for all engines
    roles        text[]      collate "C" not null default '{}',
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    last_login   timestamptz,
    version      bigint      not null check (version > 0)
);

create unique index users_email_key on users (lower(email));
create index users_position on users (created_at, id);
create index users_roles on users using gin (roles);

create table deleted_users (
    id         uuid        primary key,
    version    bigint      not null,
    deleted_at timestamptz not null
);

-- seq is taken under the lock of the user's row, so it orders the versions of one
-- user. It is not the order of commits: that is what xid is for.
create table changes (
    seq     bigint      generated always as identity primary key,
    xid     xid8        not null default pg_current_xact_id(),
    user_id uuid        not null,
    version bigint      not null,
    kind    change_kind not null,
    at      timestamptz not null
);

create index changes_xid on changes (xid);

-- One row. The pruned columns say which transactions have lost rows of the change
-- log: perhaps all up to pruned_through, and those in pruned_recent.
create table meta (
    only_row       boolean primary key default true check (only_row),
    incarnation    uuid    not null default gen_random_uuid(),
    secret         bytea   not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    home           text    not null default '',
    copy_of        text    not null default '', -- incarnation of the store of which a copy is under way
    pruned_through xid8    not null default '0',
    pruned_recent  xid8[]  not null default '{}',
    pruned_seq     bigint  not null default 0, -- highest seq of all that were pruned
    pruned_rows    bigint  not null default 0
);

insert into meta default values;

-- An id is never used again. The statement that inserts a user looks for its id
-- among the deleted ones first, but a deletion can be committed while it waits for
-- another row; the trigger looks once more, in a snapshot taken after the insert.
create function refuse_deleted_ids() returns trigger language plpgsql as $$
begin
    if exists (select from added join deleted_users using (id)) then
        raise unique_violation using
            message = 'the id of a deleted user cannot be used again',
            constraint = 'deleted_users_pkey';
    end if;
    return null;
end
$$;

create trigger refuse_deleted_ids after insert on users
    referencing new table as added
    for each statement execute function refuse_deleted_ids();
