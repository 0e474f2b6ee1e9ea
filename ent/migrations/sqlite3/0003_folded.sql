ALTER TABLE `messages` ADD COLUMN `folded` text NULL;
