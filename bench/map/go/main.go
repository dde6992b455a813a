// What Go programs use: sync.Map, a map behind an RWMutex (1 or 64 shards), and, if it was built with that module
// (-modfile=xsync.mod -tags xsync), xsync.Map. The tags `record` and `text` choose another kind of entries than 64-bit
// keys and values. The harness of harness.h, in Go: the same loops on pinned threads, and the same lines of a name, a
// figure and the share of the time in which the threads, with Go's own, had a processor.
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
	"unsafe"
)

const (
	draws      = 1 << 20
	lookAhead  = 64
	threadsMax = 64
	nsBuckets  = 65536 // of latencies; the last holds all above
)

type mode int

const (
	mixed mode = iota
	miss
	serial
	latency
)

type run struct {
	mode    mode
	store   store
	numbers []uint32 // of keys, draws of them
	reads   uint64   // of 100
	limit   uint64   // a read if a random number of 32 bits is below it
	entries uint64
	seconds float64
	threads int
	stop    atomic.Bool
}

type worker struct {
	*run
	number  int
	ops     uint64
	bad     bool
	ns      [nsBuckets]uint64
	rooms   [lookAhead]room
	keys    [lookAhead]key
	ahead   [lookAhead]uint64
	randoms [lookAhead]uint64
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func draw(state *uint64) uint64 {
	x := *state
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*state = x
	return x
}

// The calling thread, which is the goroutine's alone, on one processor, as harness.h has it.
func pin(number int) {
	var set [1024 / 64]uint64
	cpu := number % runtime.NumCPU()
	set[cpu/64] = 1 << (cpu % 64)
	_, _, failed := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set),
		uintptr(unsafe.Pointer(&set)))
	if failed != 0 {
		fmt.Fprintln(os.Stderr, "warning: cannot pin a thread")
	}
}

// Of the process: what Go's own threads take, as for collecting, was not taken by others.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func (w *worker) readBad(k key, number uint64, there bool) bool {
	v, found := w.store.get(k)
	return found != there || (there && valueBad(number, &v))
}

func (w *worker) mixedOne(k key, number, random uint64) bool {
	if random&0xffffffff < w.limit {
		return w.readBad(k, number, true)
	}
	w.store.put(k, valueMake(number, random>>32))
	return false
}

func (w *worker) look(at, offset uint64, random *uint64) {
	for i := range w.ahead {
		w.ahead[i] = uint64(w.numbers[(at+uint64(i))%draws]) + offset
	}
	for i := range w.ahead {
		w.keys[i] = keyMake(w.ahead[i], &w.rooms[i])
	}
	for i := range w.ahead {
		w.randoms[i] = draw(random)
	}
}

func (w *worker) runAhead(at uint64) {
	random, offset, bad := mix(uint64(w.number)+1), uint64(0), false
	if w.mode == miss {
		offset = w.entries
	}
	for !w.stop.Load() {
		w.look(at, offset, &random)
		for i, number := range w.ahead {
			if w.mode == miss {
				bad = w.readBad(w.keys[i], number, false) || bad
			} else {
				bad = w.mixedOne(w.keys[i], number, w.randoms[i]) || bad
			}
		}
		w.ops += lookAhead
		at += lookAhead
	}
	w.bad = bad
}

// The next key is known once the last value is there.
func (w *worker) runSerial(at uint64) {
	zero := uint64(0)
	for !w.stop.Load() {
		for i := 0; i < lookAhead; i++ {
			number := uint64(w.numbers[at%draws]) + zero
			at++
			v, found := w.store.get(keyMake(number, &w.rooms[0]))
			w.bad = !found || valueBad(number, &v) || w.bad
			zero = valueZero(&v)
		}
		w.ops += lookAhead
	}
}

// time.Since reads the clock that harness.h reads, once.
func (w *worker) runLatency(at uint64) {
	random, began := mix(uint64(w.number)+1), time.Now()
	before := time.Since(began)
	for !w.stop.Load() {
		number := uint64(w.numbers[at%draws])
		at++
		w.bad = w.mixedOne(keyMake(number, &w.rooms[0]), number, draw(&random)) || w.bad
		now := time.Since(began)
		took := now - before
		if took >= nsBuckets {
			took = nsBuckets - 1
		}
		w.ns[took]++
		w.ops++
		before = now
	}
}

func (w *worker) work(ready, done *sync.WaitGroup, begin chan struct{}) {
	defer done.Done()
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the pin with it
	pin(w.number)
	ready.Done()
	<-begin
	at := uint64(w.number) * (draws / threadsMax)
	switch w.mode {
	case serial:
		w.runSerial(at)
	case latency:
		w.runLatency(at)
	default:
		w.runAhead(at)
	}
}

func quantile(workers []*worker, total uint64, share float64) int {
	seen := uint64(0)
	for ns := 0; ns < nsBuckets; ns++ {
		for _, w := range workers {
			seen += w.ns[ns]
		}
		if float64(seen) >= float64(total)*share {
			return ns
		}
	}
	return nsBuckets - 1
}

func (r *run) measure(name string, m mode, numbers []uint32, reads uint64) {
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	workers := make([]*worker, r.threads)
	r.mode, r.numbers, r.reads, r.limit = m, numbers, reads, reads<<32/100
	r.stop.Store(false)
	ready.Add(r.threads)
	done.Add(r.threads)
	for i := range workers {
		workers[i] = &worker{run: r, number: i}
		go workers[i].work(&ready, &done, begin)
	}
	ready.Wait()
	before, began := cpuSeconds(), time.Now()
	close(begin)
	time.Sleep(time.Duration(r.seconds * 1e9))
	r.stop.Store(true)
	took := time.Since(began).Seconds()
	done.Wait()
	cpu := (cpuSeconds() - before) / took / float64(r.threads)
	total := uint64(0)
	for _, w := range workers {
		total += w.ops
		if w.bad {
			fmt.Fprintln(os.Stderr, name+": a value was lost, torn, or another key's")
			os.Exit(1)
		}
	}
	if m == latency {
		fmt.Printf("p50 %d %.3f\n", quantile(workers, total, 0.5), cpu)
		fmt.Printf("p99.9 %d %.3f\n", quantile(workers, total, 0.999), cpu)
	} else {
		fmt.Printf("%s %.2f %.3f\n", name, float64(total)/took/1e6, cpu)
	}
}

func drawsNew(entries uint64, zipf bool) []uint32 {
	numbers := make([]uint32, draws)
	random, s, n := uint64(88172645463325252), 0.99, float64(entries)
	for i := range numbers {
		unit := float64(draw(&random)>>11) / (1 << 53)
		number := uint64(unit * n)
		if zipf {
			number = mix(uint64(math.Pow(unit*(math.Pow(n, 1-s)-1)+1, 1/(1-s)))-1) % entries
		}
		numbers[i] = uint32(number)
	}
	return numbers
}

func heapBytes() uint64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}

// PROGRAM sync|rwmutex|rwmutex64|xsync [ENTRIES [SECONDS [THREADS]]]
func main() {
	r := &run{entries: 1000000, seconds: 0.3, threads: 2}
	if len(os.Args) > 2 {
		r.entries, _ = strconv.ParseUint(os.Args[2], 10, 64)
	}
	if len(os.Args) > 3 {
		r.seconds, _ = strconv.ParseFloat(os.Args[3], 64)
	}
	if len(os.Args) > 4 {
		r.threads, _ = strconv.Atoi(os.Args[4])
	}
	uniform, zipf := drawsNew(r.entries, false), drawsNew(r.entries, true)
	before := heapBytes()
	r.store = storeNew(os.Args[1], r.entries)
	for i := uint64(0); i < r.entries; i++ {
		var room room
		r.store.put(keyMake(i, &room), valueMake(i, i))
	}
	fmt.Printf("bytes %.1f\n", float64(heapBytes()-before)/float64(r.entries))
	for _, reads := range []uint64{100, 90, 50} {
		r.measure(fmt.Sprint(reads), mixed, uniform, reads)
	}
	for _, reads := range []uint64{100, 90, 50} {
		r.measure(fmt.Sprint("zipf-", reads), mixed, zipf, reads)
	}
	r.measure("miss", miss, uniform, 100)
	r.measure("serial", serial, uniform, 100)
	r.measure("latency", latency, uniform, 90)
}
