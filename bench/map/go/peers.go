package main

import "sync"

type store interface {
	get(k key) (value, bool)
	put(k key, v value)
}

// Of xsync.go, if it was built.
var newXsync func(entries uint64) store

type syncMap struct{ m sync.Map }

func (s *syncMap) get(k key) (value, bool) {
	v, found := s.m.Load(k)
	if !found {
		var none value
		return none, false
	}
	return v.(value), true
}
func (s *syncMap) put(k key, v value) { s.m.Store(keyKeep(k), v) }

type shard struct {
	lock sync.RWMutex
	m    map[key]value
	_    [96]byte
}
type rwMap struct{ shards []shard }

func newRW(shards int, entries uint64) *rwMap {
	rw := &rwMap{make([]shard, shards)}
	for i := range rw.shards {
		rw.shards[i].m = make(map[key]value, entries/uint64(shards))
	}
	return rw
}

func (rw *rwMap) of(k key) *shard {
	if len(rw.shards) == 1 {
		return &rw.shards[0]
	}
	return &rw.shards[keyHash(k)%uint64(len(rw.shards))]
}

func (rw *rwMap) get(k key) (value, bool) {
	s := rw.of(k)
	s.lock.RLock()
	v, found := s.m[k]
	s.lock.RUnlock()
	return v, found
}

func (rw *rwMap) put(k key, v value) {
	s, k := rw.of(k), keyKeep(k)
	s.lock.Lock()
	s.m[k] = v
	s.lock.Unlock()
}

func storeNew(name string, entries uint64) store {
	switch name {
	case "sync":
		return &syncMap{}
	case "rwmutex":
		return newRW(1, entries)
	case "xsync":
		return newXsync(entries)
	default:
		return newRW(64, entries)
	}
}
