-- Other programs, such as sqlite3, may write to users, and to users alone. These
-- triggers do for them what userd does itself: they raise the version, keep the roles
-- and the change log, remember who was deleted, and refuse what is not valid. On the
-- connections of userd the columns that each WHEN looks at are NULL, so none fires;
-- their names start with users_ for that.

-- When the next change is made: now, but later than all changes before.
CREATE VIEW change_time AS
	SELECT max(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
		ifnull((SELECT at + 1 FROM changes ORDER BY seq DESC LIMIT 1), 0)) AS at;

-- Which columns of a user are valid.
CREATE VIEW user_rules AS SELECT id,
	length(id) = 36 AND id LIKE '________-____-____-____-____________'
		AND replace(id, '-', '') NOT GLOB '*[^0-9a-f]*' AS id_valid,
	length(CAST(email AS BLOB)) BETWEEN 3 AND 254 AND email LIKE '_%@%_'
		AND email NOT GLOB '*[' || char(1) || '-' || char(32) || char(127) || ']*' AND instr(email, char(0)) = 0 AS email_valid,
	length(display_name) BETWEEN 1 AND 200 AND instr(display_name, char(0)) = 0
		AND display_name NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*' AS name_valid,
	json_type(roles) = 'array' AND json_array_length(roles) <= 32 AND roles = (
		SELECT json_group_array(value) FROM (
			SELECT DISTINCT value FROM json_each(roles)
			WHERE type = 'text' AND length(value) <= 63 AND value GLOB '[a-z]*' AND value NOT GLOB '*[^a-z0-9_.:-]*'
			ORDER BY value
		)
	) AS roles_valid,
	-- From the year 1 to 9999.
	min(created_at, updated_at, ifnull(last_login, 0)) >= -62135596800000000
		AND max(created_at, updated_at, ifnull(last_login, 0)) < 253402300800000000 AS times_valid
FROM users;

CREATE TRIGGER users_new BEFORE INSERT ON users
WHEN new.id IS NOT NULL BEGIN
	SELECT RAISE(ABORT, 'userd: a user with this id exists: UPDATE it') WHERE EXISTS (SELECT 1 FROM users WHERE id = new.id);
	SELECT RAISE(ABORT, 'userd: another user has this email') WHERE EXISTS (SELECT 1 FROM users WHERE email = new.email);
	SELECT RAISE(ABORT, 'userd: a deleted user had this id, so it is not used again')
		WHERE EXISTS (SELECT 1 FROM deleted_users WHERE id = new.id);
	SELECT RAISE(ABORT, 'userd: version must be 0 for a new user, and becomes 1') WHERE new.version <> 0;
END;

-- The update makes it version 1.
CREATE TRIGGER users_inserted AFTER INSERT ON users
WHEN new.id IS NOT NULL BEGIN
	INSERT OR IGNORE INTO user_roles (role, created_at, id) SELECT value, new.created_at, new.id FROM json_each(new.roles);
	UPDATE users SET roles = roles WHERE id = new.id;
END;

CREATE TRIGGER users_changing BEFORE UPDATE OF id, email ON users
WHEN new.id IS NOT NULL BEGIN
	SELECT RAISE(ABORT, 'userd: the id of a user does not change') WHERE new.id <> old.id;
	SELECT RAISE(ABORT, 'userd: another user has this email') WHERE EXISTS (SELECT 1 FROM users WHERE email = new.email AND id <> new.id);
END;

CREATE TRIGGER users_changed AFTER UPDATE OF email, display_name, created_at, updated_at, last_login, roles ON users
WHEN new.version = old.version BEGIN
	UPDATE users SET
		version = old.version + 1,
		updated_at = (SELECT at FROM change_time),
		roles = CASE json_type(new.roles) WHEN 'array' THEN (
			SELECT json_group_array(value) FROM (SELECT DISTINCT value FROM json_each(new.roles) ORDER BY value)
		) ELSE new.roles END
	WHERE id = new.id;
END;

CREATE TRIGGER users_roles_changed AFTER UPDATE OF roles, created_at ON users
WHEN new.roles <> old.roles OR new.created_at <> old.created_at BEGIN
	DELETE FROM user_roles WHERE (role, created_at, id) IN (SELECT value, old.created_at, old.id FROM json_each(old.roles));
	INSERT OR IGNORE INTO user_roles (role, created_at, id) SELECT value, new.created_at, new.id FROM json_each(new.roles);
END;

CREATE TRIGGER users_version_changed AFTER UPDATE OF version ON users
WHEN new.version <> old.version BEGIN
	SELECT RAISE(ABORT, 'userd: version is raised by itself: leave it out') WHERE new.version <> old.version + 1;
	SELECT RAISE(ABORT, 'userd: id must be a UUID in lower case') FROM user_rules WHERE id = new.id AND NOT id_valid;
	SELECT RAISE(ABORT, 'userd: email must be an address of at most 254 bytes') FROM user_rules WHERE id = new.id AND NOT email_valid;
	SELECT RAISE(ABORT, 'userd: display_name must have 1 to 200 characters, and no control characters')
		FROM user_rules WHERE id = new.id AND NOT name_valid;
	SELECT RAISE(ABORT, 'userd: roles must be a JSON array of at most 32 names such as ["admin","member"]')
		FROM user_rules WHERE id = new.id AND NOT roles_valid;
	SELECT RAISE(ABORT, 'userd: times are microseconds since 1970, from the year 1 to 9999')
		FROM user_rules WHERE id = new.id AND NOT times_valid;
	INSERT INTO changes (user_id, version, kind, at) SELECT new.id, new.version, 1, at FROM change_time;
END;

CREATE TRIGGER users_deleted AFTER DELETE ON users
WHEN old.id IS NOT NULL BEGIN
	DELETE FROM user_roles WHERE (role, created_at, id) IN (SELECT value, old.created_at, old.id FROM json_each(old.roles));
	INSERT INTO deleted_users (id, version, at) SELECT old.id, old.version + 1, at FROM change_time;
	INSERT INTO changes (user_id, version, kind, at) SELECT old.id, old.version + 1, 2, at FROM change_time;
END;
