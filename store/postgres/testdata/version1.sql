SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE TYPE public.change_kind AS ENUM (
    'upserted',
    'deleted'
);

CREATE FUNCTION public.refuse_deleted_ids() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if exists (select from added join deleted_users using (id)) then
        raise unique_violation using
            message = 'the id of a deleted user cannot be used again',
            constraint = 'deleted_users_pkey';
    end if;
    return null;
end
$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.changes (
    seq bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    user_id uuid NOT NULL,
    version bigint NOT NULL,
    kind public.change_kind NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE public.changes ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.changes_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.deleted_users (
    id uuid NOT NULL,
    version bigint NOT NULL,
    deleted_at timestamp with time zone NOT NULL
);

CREATE TABLE public.meta (
    only_row boolean DEFAULT true NOT NULL,
    incarnation uuid DEFAULT gen_random_uuid() NOT NULL,
    secret bytea DEFAULT sha256((uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))) NOT NULL,
    home text DEFAULT ''::text NOT NULL,
    copy_of text DEFAULT ''::text NOT NULL,
    pruned_through xid8 DEFAULT '0'::xid8 NOT NULL,
    pruned_recent xid8[] DEFAULT '{}'::xid8[] NOT NULL,
    pruned_seq bigint DEFAULT 0 NOT NULL,
    pruned_rows bigint DEFAULT 0 NOT NULL,
    CONSTRAINT meta_only_row_check CHECK (only_row)
);

CREATE TABLE public.userd_migrations (
    version bigint NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.users (
    id uuid NOT NULL,
    email text NOT NULL COLLATE pg_catalog."C",
    display_name text NOT NULL,
    folded_name text NOT NULL COLLATE pg_catalog."C",
    roles text[] DEFAULT '{}'::text[] NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_login timestamp with time zone,
    version bigint NOT NULL,
    CONSTRAINT users_version_check CHECK ((version > 0))
);

INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (1, '726', '00000000-0000-4000-8000-000000000001', 1, 'upserted', '2026-03-14 09:27:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (2, '728', '00000000-0000-4000-8000-000000000002', 1, 'upserted', '2026-03-14 09:28:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (3, '730', '00000000-0000-4000-8000-000000000003', 1, 'upserted', '2026-03-14 09:29:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (4, '731', '00000000-0000-4000-8000-000000000004', 1, 'upserted', '2026-03-14 09:30:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (5, '731', '00000000-0000-4000-8000-000000000005', 1, 'upserted', '2026-03-14 09:30:53.589794+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (6, '733', '00000000-0000-4000-8000-000000000002', 2, 'upserted', '2026-03-14 09:31:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (7, '735', '00000000-0000-4000-8000-000000000001', 2, 'upserted', '2026-03-14 09:32:53.589793+00');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (8, '736', '00000000-0000-4000-8000-000000000003', 2, 'deleted', '2026-03-14 09:33:53.589793+00');

INSERT INTO public.deleted_users VALUES ('00000000-0000-4000-8000-000000000003', 2, '2026-03-14 09:33:53.589793+00');

INSERT INTO public.meta VALUES (true, '88ec7ed5-e6dc-46cc-b5a8-50ca32b4b5c5', '\x2812e6166be42804bc6025dcfe3584375ff56d7e4bf66193de0f339cd16197a1', '7713320634913011603/5/16413', '', '0', '{}', 0, 0);

INSERT INTO public.userd_migrations VALUES (1, '2026-11-28 20:23:30.809959+00');

INSERT INTO public.users VALUES ('00000000-0000-4000-8000-000000000004', 'nikos@example.com', 'Νίκος', 'νίκος', '{member}', '2026-03-14 09:30:53.589793+00', '2026-03-14 09:30:53.589793+00', NULL, 1);
INSERT INTO public.users VALUES ('00000000-0000-4000-8000-000000000005', 'o''brien@example.com', 'Zoë \ "日本"', 'zoë \ "日本"', '{}', '2026-03-14 09:30:53.589794+00', '2026-03-14 09:30:53.589794+00', NULL, 1);
INSERT INTO public.users VALUES ('00000000-0000-4000-8000-000000000002', 'grace@example.com', 'Rear Admiral Hopper', 'rear admiral hopper', '{member}', '2026-03-14 09:28:53.589793+00', '2026-03-14 09:31:53.589793+00', NULL, 2);
INSERT INTO public.users VALUES ('00000000-0000-4000-8000-000000000001', 'Ada@Example.com', 'Ada Lovelace', 'ada lovelace', '{admin,reader}', '2026-03-14 09:27:53.589793+00', '2026-03-14 09:32:53.589793+00', '2026-03-14 09:31:53.589793+00', 2);

SELECT pg_catalog.setval('public.changes_seq_seq', 8, true);

ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY public.deleted_users
    ADD CONSTRAINT deleted_users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.userd_migrations
    ADD CONSTRAINT userd_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX changes_xid ON public.changes USING btree (xid);

CREATE UNIQUE INDEX users_email_key ON public.users USING btree (lower(email));

CREATE INDEX users_position ON public.users USING btree (created_at, id);

CREATE INDEX users_roles ON public.users USING gin (roles);

CREATE TRIGGER refuse_deleted_ids AFTER INSERT ON public.users REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_deleted_ids();

