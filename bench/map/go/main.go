// What Go programs use: sync.Map, a map behind an RWMutex (1 or 64 shards), and, if it was built with that module
// (-modfile=xsync.mod -tags xsync), xsync.MapOf. The harness of harness.h, in Go: prints
// lines of a name, millions of calls a second, and the share of the time in which the threads had a processor.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const draws = 1 << 20

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

type store interface {
	get(key uint64) (uint64, bool)
	put(key, value uint64)
}

type syncMap struct{ m sync.Map }

func (s *syncMap) get(key uint64) (uint64, bool) {
	value, found := s.m.Load(key)
	if !found {
		return 0, false
	}
	return value.(uint64), true
}
func (s *syncMap) put(key, value uint64) { s.m.Store(key, value) }

// Of xsync.go, if it was built.
var newXsync func(entries uint64) store

type shard struct {
	lock sync.RWMutex
	m    map[uint64]uint64
	_    [96]byte
}
type rwMap struct{ shards []shard }

func newRW(shards int, entries uint64) *rwMap {
	rw := &rwMap{make([]shard, shards)}
	for i := range rw.shards {
		rw.shards[i].m = make(map[uint64]uint64, entries/uint64(shards))
	}
	return rw
}
func (rw *rwMap) of(key uint64) *shard { return &rw.shards[mix(key)%uint64(len(rw.shards))] }
func (rw *rwMap) get(key uint64) (uint64, bool) {
	s := rw.of(key)
	s.lock.RLock()
	value, found := s.m[key]
	s.lock.RUnlock()
	return value, found
}
func (rw *rwMap) put(key, value uint64) {
	s := rw.of(key)
	s.lock.Lock()
	s.m[key] = value
	s.lock.Unlock()
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// The same loop for each: a type parameter would be called through a dictionary as well.
func measure(name string, s store, numbers []uint32, reads, entries uint64, seconds float64, threads int, miss bool) {
	var stop atomic.Bool
	var wait sync.WaitGroup
	ops := make([]uint64, threads*16)
	limit := reads << 32 / 100
	before, began := cpuSeconds(), time.Now()
	for t := 0; t < threads; t++ {
		wait.Add(1)
		go func(t int) {
			defer wait.Done()
			runtime.LockOSThread()
			at, random, done := uint64(t)*draws/64, mix(uint64(t)+1), uint64(0)
			var ahead, keys, randoms [64]uint64
			for !stop.Load() {
				for i := range ahead {
					number := uint64(numbers[at%draws])
					at++
					random ^= random << 13
					random ^= random >> 7
					random ^= random << 17
					if miss {
						number += entries
					}
					ahead[i], keys[i], randoms[i] = number, mix(number+1), random
				}
				for i, number := range ahead {
					if randoms[i]&0xffffffff >= limit {
						s.put(keys[i], number<<8|randoms[i]>>56)
						continue
					}
					value, found := s.get(keys[i])
					if found == miss || (found && value>>8 != number) {
						fmt.Fprintln(os.Stderr, name, "a value was lost or another key's")
						os.Exit(1)
					}
				}
				done += 64
			}
			ops[t*16] = done
		}(t)
	}
	time.Sleep(time.Duration(seconds * 1e9))
	stop.Store(true)
	wait.Wait()
	took := time.Since(began).Seconds()
	total := uint64(0)
	for t := 0; t < threads; t++ {
		total += ops[t*16]
	}
	fmt.Printf("%s %.2f %.3f\n", name, float64(total)/took/1e6, (cpuSeconds()-before)/took/float64(threads))
}

func drawsNew(entries uint64, zipf bool) []uint32 {
	numbers := make([]uint32, draws)
	random, s, n := uint64(88172645463325252), 0.99, float64(entries)
	for i := range numbers {
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		unit := float64(random>>11) / (1 << 53)
		number := uint64(unit * n)
		if zipf {
			number = mix(uint64(math.Pow(unit*(math.Pow(n, 1-s)-1)+1, 1/(1-s)))-1) % entries
		}
		numbers[i] = uint32(number)
	}
	return numbers
}

// PROGRAM sync|rwmutex|rwmutex64|xsync [ENTRIES [SECONDS [THREADS]]]
func main() {
	entries, seconds, threads := uint64(1000000), 0.3, 2
	if len(os.Args) > 2 {
		entries, _ = strconv.ParseUint(os.Args[2], 10, 64)
	}
	if len(os.Args) > 3 {
		seconds, _ = strconv.ParseFloat(os.Args[3], 64)
	}
	if len(os.Args) > 4 {
		threads, _ = strconv.Atoi(os.Args[4])
	}
	uniform, zipf := drawsNew(entries, false), drawsNew(entries, true)
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before := memory.HeapAlloc
	var s store
	switch os.Args[1] {
	case "sync":
		s = &syncMap{}
	case "rwmutex":
		s = newRW(1, entries)
	case "xsync":
		s = newXsync(entries)
	default:
		s = newRW(64, entries)
	}
	for i := uint64(0); i < entries; i++ {
		s.put(mix(i+1), i<<8|i&0xff)
	}
	runtime.GC()
	runtime.ReadMemStats(&memory)
	fmt.Printf("bytes %.1f\n", float64(memory.HeapAlloc-before)/float64(entries))
	for _, reads := range []uint64{100, 90, 50} {
		measure(fmt.Sprint(reads), s, uniform, reads, entries, seconds, threads, false)
	}
	for _, reads := range []uint64{100, 90, 50} {
		measure(fmt.Sprint("zipf-", reads), s, zipf, reads, entries, seconds, threads, false)
	}
	measure("miss", s, uniform, 100, entries, seconds, threads, true)
}
