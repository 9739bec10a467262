// Package model holds what the engine knows and what it wants of the kernel, as
// plain values: the records of networks, endpoints and sandboxes, the objects
// that the kernel shall hold for them, and the pure functions that lead from
// one to the other.
//
// An operation never says what to do. It says what the records are afterwards;
// the objects wanted before and after are derived from the records, and the
// difference between the two lists is what package apply does. Create, delete,
// rollback, restart and repair are that one derivation.
//
// The package has no clock, no goroutine and no operating system. Its values
// are immutable once published: whoever changes one works on a copy.
package model
