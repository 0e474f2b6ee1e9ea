-- Numbers are taken in order, but committed in any order. A transaction that inserts messages holds a lock until its end, which
-- says: my numbers are greater than this. It takes the lock before its first number.
CREATE FUNCTION announce_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- One lock for a transaction is enough, and the server has room for only so many. This setting ends with what holds the lock:
  -- the transaction, or a savepoint that is rolled back.
  IF coalesce(current_setting('messages.announced', true), '') = '' THEN
    PERFORM pg_advisory_xact_lock_shared(TG_RELID::int, coalesce(pg_sequence_last_value('messages_id_seq'), 0)::bit(32)::int);
    PERFORM set_config('messages.announced', 'yes', true);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER announce_messages BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION announce_messages();

-- settled_message_id() returns a number up to which every message that will ever exist can be seen, by any statement that begins
-- after it. It may return less than it has returned before. Whoever calls it with what it returned last pays less if nothing is new.
CREATE FUNCTION settled_message_id(known bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  -- The newest number first, and then the locks: whoever holds none by then takes greater numbers, or has ended.
  newest bigint := coalesce(pg_sequence_last_value('messages_id_seq'), 0);
BEGIN
  IF newest = known THEN
    RETURN known;
  END IF;
  -- A lock has the lower 32 bits of its number. The number is the one with these bits that is nearest to the newest.
  RETURN least(newest, (SELECT min(newest - (newest - objid::bigint)::bit(32)::int) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 'messages'::regclass AND objsubid = 2));
END $$;
