package main

import (
	"os"
	"os/exec"
	"strings"
)

// slowDiskSource is a library that makes each flush of a program take 2 ms longer.
const slowDiskSource = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#define SLOW(flush) int flush(int file) { \
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, 0); \
	return ((int (*)(int))dlsym(RTLD_NEXT, #flush))(file); \
}
SLOW(fsync)
SLOW(fdatasync)
`

// slowDiskLibrary compiles the library, if it can, and returns its path.
func (b *bench) slowDiskLibrary() string {
	library := b.scratch + "/slowdisk.so"
	compile := exec.Command("cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl")
	compile.Stdin = strings.NewReader(slowDiskSource)
	_ = compile.Run()
	return library
}

// slowDisk measures POST /record where flushes are slow. One connection can then record less than 500 messages a second.
func (b *bench) slowDisk(s servers) {
	r := b.compare([]load{post(s.usual, 1)}, []load{post(s.daybook, 1)})
	b.table("Recording on a slower disk", "Requests", "The usual way", "Daybook")
	_, err := os.Stat(b.scratch + "/slowdisk.so")
	if err != nil || r[0].perSecond >= 500 || r[1].perSecond >= 500 {
		b.row("Not measured: this needs Linux, a C compiler and servers with cgo", "", "")
		return
	}
	b.row("`POST /record`, 1 connection", r[0], r[1])
	r = b.compare([]load{post(s.usual, b.recorders)}, []load{post(s.daybook, b.recorders)})
	b.row("`POST /record`, 64 connections", r[0], r[1])
}
