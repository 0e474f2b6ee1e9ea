-- The index came while the version was 3, so some files of version 3 have it.
CREATE INDEX IF NOT EXISTS `message_recorded_at` ON `messages` (`recorded_at`);
-- The search index of version 2. No file makes it, because only that version used it.
DROP TABLE IF EXISTS `slices`;
