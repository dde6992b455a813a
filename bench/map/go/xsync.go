//go:build xsync

package main

import "github.com/puzpuzpuz/xsync/v4"

type xsyncMap struct{ m *xsync.Map[key, value] }

func (x xsyncMap) get(k key) (value, bool) { return x.m.Load(k) }
func (x xsyncMap) put(k key, v value)      { x.m.Store(keyKeep(k), v) }

func init() {
	newXsync = func(entries uint64) store {
		return xsyncMap{xsync.NewMap[key, value](xsync.WithPresize(int(entries)))}
	}
}
