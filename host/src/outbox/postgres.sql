-- The outbox of tidegate, format 1. Write a row in the transaction that it tells of:
--   INSERT INTO tidegate.outbox (topic, type, subject, data) VALUES ($1, $2, $3, $4);
-- The application's role needs no more than
--   GRANT USAGE ON SCHEMA tidegate TO app; GRANT INSERT ON tidegate.outbox TO app;

CREATE SCHEMA tidegate;

-- It belongs to no column, so that TRUNCATE ... RESTART IDENTITY leaves it alone.
CREATE SEQUENCE tidegate.outbox_position AS bigint CACHE 1;

CREATE TABLE tidegate.outbox (
    -- The event's id.
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    -- Where the event goes; without one, the topic of the relay's configuration.
    topic text,
    type text NOT NULL,
    subject text,
    partitionkey text,
    -- Without one, that of the relay's configuration.
    source text,
    -- When it happened.
    time timestamptz DEFAULT now(),
    datacontenttype text,
    dataschema text,
    -- Other attributes: an object of strings, integers and booleans.
    extensions jsonb,
    -- JSON, unless datacontenttype says another kind of text.
    data text,
    -- Or bytes.
    data_binary bytea,
    -- The order of commits, given at the commit. Leave it out, and what follows too: they are the relay's.
    position bigint UNIQUE,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    emitted timestamptz,
    failed text,
    CHECK (data IS NULL OR data_binary IS NULL)
);

CREATE INDEX outbox_failed ON tidegate.outbox (position) WHERE failed IS NOT NULL;

-- How far the relay is, and with which bus.
CREATE TABLE tidegate.outbox_relay (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    format integer NOT NULL DEFAULT 1,
    outbox text NOT NULL DEFAULT gen_random_uuid()::text,
    claimed text,
    settled text,
    position bigint NOT NULL DEFAULT 0
);

INSERT INTO tidegate.outbox_relay DEFAULT VALUES;

-- Runs at the commit, and makes the commits that write to the outbox come one after the other: whoever has the lock gets
-- the next positions, and lets go of it when the rows can be seen. So nothing appears below what has been seen.
CREATE FUNCTION tidegate.outbox_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    place bigint;
BEGIN
    -- The letters of "tidegate".
    PERFORM pg_advisory_xact_lock(8388346167643173989);
    -- What the relay sees has to outlive a crash of the server.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
    place := nextval('tidegate.outbox_position');
    IF place <= (SELECT position FROM tidegate.outbox_relay) THEN
        RAISE EXCEPTION 'the sequence tidegate.outbox_position stands at %, below what is published already', place
            USING HINT = 'It was set back. Set it to a number above tidegate.outbox_relay.position.';
    END IF;
    UPDATE tidegate.outbox SET position = place WHERE id = NEW.id AND position IS NULL;
    RETURN NULL;
END
$function$;

REVOKE ALL ON FUNCTION tidegate.outbox_number() FROM PUBLIC;

CREATE CONSTRAINT TRIGGER outbox_number AFTER INSERT OR UPDATE OF position, id ON tidegate.outbox
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.position IS NULL)
EXECUTE FUNCTION tidegate.outbox_number();

CREATE FUNCTION tidegate.outbox_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION 'tidegate.outbox.position is given at the commit: leave it out';
END
$function$;

REVOKE ALL ON FUNCTION tidegate.outbox_guard() FROM PUBLIC;

CREATE TRIGGER outbox_guard_insert BEFORE INSERT ON tidegate.outbox
FOR EACH ROW WHEN (NEW.position IS NOT NULL)
EXECUTE FUNCTION tidegate.outbox_guard();

-- The trigger above writes it from within another one.
CREATE TRIGGER outbox_guard_update BEFORE UPDATE OF position ON tidegate.outbox
FOR EACH ROW WHEN (NEW.position IS NOT NULL AND NEW.position IS DISTINCT FROM OLD.position AND pg_trigger_depth() < 1)
EXECUTE FUNCTION tidegate.outbox_guard();
