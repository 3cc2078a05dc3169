-- Times are microseconds since 1970, UTC: datetime(created_at / 1e6, 'unixepoch').

CREATE TABLE users (
	id           TEXT    NOT NULL PRIMARY KEY,
	email        TEXT    NOT NULL COLLATE NOCASE UNIQUE,
	display_name TEXT    NOT NULL,
	created_at   INTEGER NOT NULL,
	updated_at   INTEGER NOT NULL,
	last_login   INTEGER,
	roles        TEXT    NOT NULL, -- JSON array, sorted.
	version      INTEGER NOT NULL
) STRICT;

CREATE INDEX users_by_position ON users (created_at, id);

-- The roles once more, for finding users by role in the order of their positions.
CREATE TABLE user_roles (
	role       TEXT    NOT NULL,
	created_at INTEGER NOT NULL,
	id         TEXT    NOT NULL,
	PRIMARY KEY (role, created_at, id)
) STRICT, WITHOUT ROWID;

-- What remains of deleted users, so that no id is used again.
CREATE TABLE deleted_users (
	id      TEXT    NOT NULL PRIMARY KEY,
	version INTEGER NOT NULL,
	at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id TEXT    NOT NULL,
	version INTEGER NOT NULL,
	kind    INTEGER NOT NULL, -- 1 created or changed, 2 deleted.
	at      INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
	incarnation TEXT    NOT NULL,
	secret      BLOB    NOT NULL,
	pruned      INTEGER NOT NULL, -- Last row of changes that has been removed.
	copy_of     TEXT    NOT NULL DEFAULT '' -- Incarnation of the store of which a copy is under way.
) STRICT;
