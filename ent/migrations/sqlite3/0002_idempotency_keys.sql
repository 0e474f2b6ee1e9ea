ALTER TABLE `messages` ADD COLUMN `idempotency_key` text NULL;
CREATE UNIQUE INDEX `message_idempotency_key` ON `messages` (`idempotency_key`) WHERE idempotency_key IS NOT NULL;
