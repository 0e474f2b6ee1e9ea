package ent

//go:generate go tool -modfile=../tools.mod ent generate --feature sql/execquery ./schema
