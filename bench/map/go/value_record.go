//go:build record || text

package main

const fields = 6

type value = struct{ field [fields]uint64 }

// The last field is the sum of the others, as in harness.h: no mixture of two versions has that.
func valueMake(number, any uint64) (ret value) {
	sum := number
	ret.field[0] = number
	for i := 1; i < fields-1; i++ {
		ret.field[i] = ret.field[i-1] + any&0xffff
		sum += ret.field[i]
	}
	ret.field[fields-1] = sum
	return ret
}

func valueBad(number uint64, v *value) bool {
	sum := v.field[0]
	for i := 1; i < fields-1; i++ {
		sum += v.field[i]
	}
	return v.field[0] != number || sum != v.field[fields-1]
}

func valueZero(v *value) uint64 { return v.field[0] >> 63 }
