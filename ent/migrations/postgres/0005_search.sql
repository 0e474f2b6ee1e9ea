-- Without this index a search reads every message. Not every server has the extension, or lets this role use it.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX messages_folded_trigrams ON messages USING gin (folded gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR undefined_object THEN
  RAISE WARNING 'messages are searched without an index: %', SQLERRM;
END $$;
