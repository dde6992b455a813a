//go:build xsync

package main

import "github.com/puzpuzpuz/xsync/v3"

type xsyncMap struct{ m *xsync.MapOf[uint64, uint64] }

func (x xsyncMap) get(key uint64) (uint64, bool) { return x.m.Load(key) }
func (x xsyncMap) put(key, value uint64)         { x.m.Store(key, value) }

func init() {
	newXsync = func(entries uint64) store {
		return xsyncMap{xsync.NewMapOf[uint64, uint64](xsync.WithPresize(int(entries)))}
	}
}
