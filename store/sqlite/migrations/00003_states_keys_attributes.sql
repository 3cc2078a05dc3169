-- Users can be disabled, have an id elsewhere, and attributes.

-- Adding a column reads all triggers and views, and these are to know the new ones.
drop trigger users_new;
drop trigger users_changing;
drop trigger users_changed;
drop trigger users_version_changed;
drop view user_rules;

alter table users add column disabled integer not null default 0; -- 1 for users who may not be used.
alter table users add column external_id text;
alter table users add column attributes text not null default '{}'; -- JSON object of texts, sorted by name.

create unique index users_by_external_id on users (external_id) where external_id is not null;

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
		and max(created_at, updated_at, ifnull(last_login, 0)) < 253402300800000000 as times_valid,
	disabled in (0, 1) as disabled_valid,
	external_id is null or (
		length(cast(external_id as blob)) between 1 and 255 and instr(external_id, char(0)) = 0
			and external_id not glob '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'
	) as external_id_valid,
	json_type(attributes) = 'object' and instr(attributes, '\u0000') = 0 and attributes = (
		select json_group_object(key, value) from (
			select key, value from json_each(attributes)
			where type = 'text' and length(cast(value as blob)) <= 1024
				and length(key) <= 63 and key glob '[a-z]*' and key not glob '*[^a-z0-9_.-]*'
			order by key
		)
	) and (
		select count(*) <= 32 and count(*) = count(distinct key) and ifnull(sum(length(key) + length(cast(value as blob))), 0) <= 8192
		from json_each(attributes)
	) as attributes_valid
from users;

create trigger users_new before insert on users
when new.id is not null begin
	select raise(abort, 'userd: a user with this id exists: UPDATE it') where exists (select 1 from users where id = new.id);
	select raise(abort, 'userd: another user has this email') where exists (select 1 from users where email = new.email);
	select raise(abort, 'userd: another user has this external_id')
		where exists (select 1 from users where external_id = new.external_id);
	select raise(abort, 'userd: a deleted user had this id, so it is not used again')
		where exists (select 1 from deleted_users where id = new.id);
	select raise(abort, 'userd: version must be 0 for a new user, and becomes 1') where new.version <> 0;
end;

create trigger users_changing before update of id, email, external_id on users
when new.id is not null begin
	select raise(abort, 'userd: the id of a user does not change') where new.id <> old.id;
	select raise(abort, 'userd: another user has this email') where exists (select 1 from users where email = new.email and id <> new.id);
	select raise(abort, 'userd: another user has this external_id')
		where exists (select 1 from users where external_id = new.external_id and id <> new.id);
end;

create trigger users_changed after update of
	email, display_name, created_at, updated_at, last_login, roles, disabled, external_id, attributes on users
when new.version = old.version begin
	update users set
		version = old.version + 1,
		updated_at = (select at from change_time),
		roles = case json_type(new.roles) when 'array' then (
			select json_group_array(value) from (select distinct value from json_each(new.roles) order by value)
		) else new.roles end,
		attributes = case when json_type(new.attributes) = 'object' and instr(new.attributes, '\u0000') = 0 then (
			select json_group_object(key, value) from (select key, value from json_each(new.attributes) order by key)
		) else new.attributes end
	where id = new.id;
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
	select raise(abort, 'userd: disabled must be 0 or 1') from user_rules where id = new.id and not disabled_valid;
	select raise(abort, 'userd: external_id must be NULL, or 1 to 255 bytes without control characters')
		from user_rules where id = new.id and not external_id_valid;
	select raise(abort, 'userd: attributes must be a JSON object of at most 32 texts such as {"tenant":"blue"}, each at most 1024 bytes, 8192 in all')
		from user_rules where id = new.id and not attributes_valid;
	insert into changes (user_id, version, kind, at) select new.id, new.version, 1, at from change_time;
end;
