package runset

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"net/netip"
)

// Uint128 is an unsigned 128-bit integer. The zero value is 0.
type Uint128 struct{ Hi, Lo uint64 }

// maxUint128 is 2^128 - 1.
var maxUint128 = Uint128{^uint64(0), ^uint64(0)}

// U64 returns v as a 128-bit integer.
func U64(v uint64) Uint128 { return Uint128{Lo: v} }

// Less reports whether a < b.
func (a Uint128) Less(b Uint128) bool {
	return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo
}

// Cmp returns -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Uint128) Cmp(b Uint128) int {
	switch {
	case a == b:
		return 0
	case a.Less(b):
		return -1
	}
	return 1
}

// Add returns a + b modulo 2^128.
func (a Uint128) Add(b Uint128) Uint128 {
	lo, c := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(a.Hi, b.Hi, c)
	return Uint128{hi, lo}
}

// Sub returns a - b modulo 2^128.
func (a Uint128) Sub(b Uint128) Uint128 {
	lo, c := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(a.Hi, b.Hi, c)
	return Uint128{hi, lo}
}

// Next returns a + 1 modulo 2^128.
func (a Uint128) Next() Uint128 { return a.Add(Uint128{Lo: 1}) }

// Prev returns a - 1 modulo 2^128.
func (a Uint128) Prev() Uint128 { return a.Sub(Uint128{Lo: 1}) }

// Big returns a as an integer without bounds.
func (a Uint128) Big() *big.Int {
	hi, lo := new(big.Int).SetUint64(a.Hi), new(big.Int).SetUint64(a.Lo)
	return lo.Or(lo, hi.Lsh(hi, 64))
}

// String returns a in decimal.
func (a Uint128) String() string { return a.Big().String() }

// LowMask returns 2^n - 1, n from 0 to 128.
func LowMask(n int) Uint128 {
	switch {
	case n <= 0:
		return Uint128{}
	case n >= 128:
		return maxUint128
	case n > 64:
		return Uint128{1<<(n-64) - 1, ^uint64(0)}
	case n == 64:
		return Uint128{Lo: ^uint64(0)}
	}
	return Uint128{Lo: 1<<n - 1}
}

// Or returns the bitwise or of a and b.
func (a Uint128) Or(b Uint128) Uint128 { return Uint128{a.Hi | b.Hi, a.Lo | b.Lo} }

// AndNot returns a with the bits of b cleared.
func (a Uint128) AndNot(b Uint128) Uint128 { return Uint128{a.Hi &^ b.Hi, a.Lo &^ b.Lo} }

// FromAddr returns the numeric value of an address: 32 bits for IPv4, 128 for
// IPv6 (IPv4-mapped addresses count as IPv6).
func FromAddr(a netip.Addr) Uint128 {
	if a.Is4() {
		b := a.As4()
		return Uint128{Lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return Uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Addr4 returns the low 32 bits as an IPv4 address.
func (a Uint128) Addr4() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a.Lo))
	return netip.AddrFrom4(b)
}

// Addr16 returns the value as an IPv6 address.
func (a Uint128) Addr16() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}
