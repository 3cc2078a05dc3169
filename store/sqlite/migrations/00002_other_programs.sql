-- Other programs, such as sqlite3, may write to users, and to users alone. These
-- triggers do for them what userd does itself: they raise the version, keep the roles
-- and the change log, remember who was deleted, and refuse what is not valid. userd
-- disables them on the connection by which it writes.

-- When the next change is made: now, but later than all changes before.
create view change_time as
	select max(cast((julianday('now') - 2440587.5) * 86400000000 as integer),
		ifnull((select at + 1 from changes order by seq desc limit 1), 0)) as at;

-- Which columns of a user are valid.
create view user_rules as select id,
	length(id) = 36 and id like '________-____-____-____-____________'
		and replace(id, '-', '') not glob '*[^0-9a-f]*' as id_valid,
	length(cast(email as blob)) between 3 and 254 and email like '_%@%_'
		and email not glob '*[' || char(1) || '-' || char(32) || char(127) || ']*' and instr(email, char(0)) = 0 as email_valid,
	length(display_name) between 1 and 200 and instr(display_name, char(0)) = 0
		and display_name not glob '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*' as name_valid,
	json_type(roles) = 'array' and json_array_length(roles) <= 32 and roles = (
		select json_group_array(value) from (
			select distinct value from json_each(roles)
			where type = 'text' and length(value) <= 63 and value glob '[a-z]*' and value not glob '*[^a-z0-9_.:-]*'
			order by value
		)
	) as roles_valid,
	-- From the year 1 to 9999.
	min(created_at, updated_at, ifnull(last_login, 0)) >= -62135596800000000
		and max(created_at, updated_at, ifnull(last_login, 0)) < 253402300800000000 as times_valid
from users;

create trigger users_new before insert on users
when new.id is not null begin
	select raise(abort, 'userd: a user with this id exists: UPDATE it') where exists (select 1 from users where id = new.id);
	select raise(abort, 'userd: another user has this email') where exists (select 1 from users where email = new.email);
	select raise(abort, 'userd: a deleted user had this id, so it is not used again')
		where exists (select 1 from deleted_users where id = new.id);
	select raise(abort, 'userd: version must be 0 for a new user, and becomes 1') where new.version <> 0;
end;

-- The update makes it version 1.
create trigger users_inserted after insert on users
when new.id is not null begin
	insert or ignore into user_roles (role, created_at, id) select value, new.created_at, new.id from json_each(new.roles);
	update users set roles = roles where id = new.id;
end;

create trigger users_changing before update of id, email on users
when new.id is not null begin
	select raise(abort, 'userd: the id of a user does not change') where new.id <> old.id;
	select raise(abort, 'userd: another user has this email') where exists (select 1 from users where email = new.email and id <> new.id);
end;

create trigger users_changed after update of email, display_name, created_at, updated_at, last_login, roles on users
when new.version = old.version begin
	update users set
		version = old.version + 1,
		updated_at = (select at from change_time),
		roles = case json_type(new.roles) when 'array' then (
			select json_group_array(value) from (select distinct value from json_each(new.roles) order by value)
		) else new.roles end
	where id = new.id;
end;

create trigger users_roles_changed after update of roles, created_at on users
when new.roles <> old.roles or new.created_at <> old.created_at begin
	delete from user_roles where (role, created_at, id) in (select value, old.created_at, old.id from json_each(old.roles));
	insert or ignore into user_roles (role, created_at, id) select value, new.created_at, new.id from json_each(new.roles);
end;

create trigger users_version_changed after update of version on users
when new.version <> old.version begin
	select raise(abort, 'userd: version is raised by itself: leave it out') where new.version <> old.version + 1;
	select raise(abort, 'userd: id must be a UUID in lower case') from user_rules where id = new.id and not id_valid;
	select raise(abort, 'userd: email must be an address of at most 254 bytes') from user_rules where id = new.id and not email_valid;
	select raise(abort, 'userd: display_name must have 1 to 200 characters, and no control characters')
		from user_rules where id = new.id and not name_valid;
	select raise(abort, 'userd: roles must be a JSON array of at most 32 names such as ["admin","member"]')
		from user_rules where id = new.id and not roles_valid;
	select raise(abort, 'userd: times are microseconds since 1970, from the year 1 to 9999')
		from user_rules where id = new.id and not times_valid;
	insert into changes (user_id, version, kind, at) select new.id, new.version, 1, at from change_time;
end;

create trigger users_deleted after delete on users
when old.id is not null begin
	delete from user_roles where (role, created_at, id) in (select value, old.created_at, old.id from json_each(old.roles));
	insert into deleted_users (id, version, at) select old.id, old.version + 1, at from change_time;
	insert into changes (user_id, version, kind, at) select old.id, old.version + 1, 2, at from change_time;
end;
