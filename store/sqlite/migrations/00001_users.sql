-- Times are microseconds since 1970, UTC: datetime(created_at / 1e6, 'unixepoch').

create table users (
	id           text    not null primary key,
	email        text    not null collate nocase unique,
	display_name text    not null,
	created_at   integer not null,
	updated_at   integer not null,
	last_login   integer,
	roles        text    not null, -- JSON array, sorted.
	version      integer not null
) strict;

create index users_by_position on users (created_at, id);

-- The roles once more, for finding users by role in the order of their positions.
create table user_roles (
	role       text    not null,
	created_at integer not null,
	id         text    not null,
	primary key (role, created_at, id)
) strict, without rowid;

-- What remains of deleted users, so that no id is used again.
create table deleted_users (
	id      text    not null primary key,
	version integer not null,
	at      integer not null
) strict, without rowid;

create table changes (
	seq     integer primary key autoincrement,
	user_id text    not null,
	version integer not null,
	kind    integer not null, -- 1 created or changed, 2 deleted.
	at      integer not null
) strict;

create table meta (
	incarnation text    not null,
	secret      blob    not null,
	pruned      integer not null, -- Last row of changes that has been removed.
	copy_of     text    not null default '' -- Incarnation of the store of which a copy is under way.
) strict;
