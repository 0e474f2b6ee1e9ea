//go:build cgo

package main

// cgo is whether the test was built with it. The usual server needs it.
const cgo = true
