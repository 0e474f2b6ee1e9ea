//go:build !linux

package server

import (
	"errors"
	"syscall"
)

// dropNew is for Linux only.
func dropNew(syscall.Conn) error { return errors.ErrUnsupported }
