//go:build !text

package main

type key = uint64
type room struct{}

func keyMake(number uint64, _ *room) key { return mix(number + 1) }
func keyKeep(k key) key                  { return k }
func keyHash(k key) uint64               { return mix(k) }
