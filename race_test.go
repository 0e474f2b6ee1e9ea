//go:build race

package main

// race is whether the race detector is there, with which everything takes ten times as long and as much memory.
const race = true
