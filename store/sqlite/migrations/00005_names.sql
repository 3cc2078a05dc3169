-- The names as searches see them (store.FoldName), with an index of all their trigrams.
-- userd alone can make them, so it follows the change log.
create table user_names (
	row  integer not null primary key,
	id   text    not null unique,
	name text    not null
) strict;

create virtual table user_names_trigrams using fts5(
	name, content = 'user_names', content_rowid = 'row', tokenize = 'trigram case_sensitive 1', detail = 'none', columnsize = 0
);

-- What is removed is overwritten, not only marked, for which a whole page is read.
insert into user_names_trigrams (user_names_trigrams, rank) values ('secure-delete', 1);
insert into user_names_trigrams (user_names_trigrams, rank) values ('pgsz', 1000);

-- How far they have come.
create table user_names_state (
	followed integer not null, -- The last row of the log that is in them.
	listed   text,             -- The last id of all users whom they have gone through, NULL after all.
	folding  text    not null  -- The rule by which names were folded; another one makes them go through all.
) strict;

insert into user_names_state (followed, listed, folding) values (0, '', '');
