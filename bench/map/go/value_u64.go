//go:build !record && !text

package main

type value = uint64

func valueMake(number, any uint64) value    { return number<<8 | any&0xff }
func valueBad(number uint64, v *value) bool { return *v>>8 != number }
func valueZero(v *value) uint64             { return *v >> 63 }
