ALTER TABLE `messages` ADD COLUMN `removes` integer NULL;
CREATE UNIQUE INDEX `message_removes` ON `messages` (`removes`) WHERE removes IS NOT NULL;
