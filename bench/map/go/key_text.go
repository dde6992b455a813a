//go:build text

package main

import (
	"hash/maphash"
	"strings"
	"unsafe"
)

const (
	keyMax = 64
	golden = 0x9e3779b97f4a7c15
)

type key = string
type room [keyMax / 8]uint64 // of the words of a key that is only asked for

var seed = maphash.MakeSeed()

// A string of the room's bytes: made without memory of its own, and good until the room's next key.
func keyMake(number uint64, room *room) key {
	word := mix(number + 1)
	length := int(8 + word>>40%(keyMax-7))
	for i := range room {
		room[i] = word
		word += golden
	}
	bytes := (*[keyMax]byte)(unsafe.Pointer(room))[:length]
	return *(*string)(unsafe.Pointer(&bytes))
}

func keyKeep(k key) key    { return strings.Clone(k) }
func keyHash(k key) uint64 { return maphash.String(seed, k) }
