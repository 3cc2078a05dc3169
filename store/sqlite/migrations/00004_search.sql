-- Few users are disabled, and these can be listed in the order of their positions.
create index users_disabled on users (created_at, id) where disabled;

-- The attributes once more, for finding users by attribute in the order of their positions.
create table user_attributes (
	name       text    not null,
	value      text    not null,
	created_at integer not null,
	id         text    not null,
	primary key (name, value, created_at, id)
) strict, without rowid;

insert or ignore into user_attributes (name, value, created_at, id)
	select key, value, created_at, users.id from users, json_each(case when json_valid(attributes) then attributes else '{}' end)
	where type = 'text';

-- What other programs write goes there as well. That it is valid is seen later.
create trigger users_attributes_inserted after insert on users
when new.id is not null begin
	insert or ignore into user_attributes (name, value, created_at, id)
		select key, value, new.created_at, new.id
		from json_each(case when json_valid(new.attributes) then new.attributes else '{}' end) where type = 'text';
end;

create trigger users_attributes_changed after update of attributes, created_at on users
when new.attributes <> old.attributes or new.created_at <> old.created_at begin
	delete from user_attributes where (name, value, created_at, id) in (
		select key, value, old.created_at, old.id
		from json_each(case when json_valid(old.attributes) then old.attributes else '{}' end) where type = 'text');
	insert or ignore into user_attributes (name, value, created_at, id)
		select key, value, new.created_at, new.id
		from json_each(case when json_valid(new.attributes) then new.attributes else '{}' end) where type = 'text';
end;

create trigger users_attributes_deleted after delete on users
when old.id is not null begin
	delete from user_attributes where (name, value, created_at, id) in (
		select key, value, old.created_at, old.id
		from json_each(case when json_valid(old.attributes) then old.attributes else '{}' end) where type = 'text');
end;
