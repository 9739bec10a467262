//go:build !linux

package nstest

import (
	"errors"
	"os"
	"runtime"
	"testing"
)

// NS is a network namespace that vanishes with its test.
type NS struct{}

// New skips the test: there are no network namespaces on this system.
func New(t testing.TB) *NS {
	t.Helper()
	Require(t, Root)
	return nil
}

// Do fails on this system.
func (*NS) Do(func() error) error { return errors.ErrUnsupported }

// FD is -1 on this system.
func (*NS) FD() int { return -1 }

// Path is empty on this system.
func (*NS) Path() string { return "" }

// Run skips the test.
func Run(t testing.TB, _ func()) {
	t.Helper()
	Require(t, Root)
}

// WithoutNFTables skips the test.
func WithoutNFTables(t *testing.T, _ func()) {
	t.Helper()
	Require(t, Root)
}

// Command skips the test.
func Command(t testing.TB, _ ...string) string {
	t.Helper()
	Require(t, Root)
	return ""
}

// Main runs the tests as they are and ends the process.
func Main(m *testing.M) { os.Exit(m.Run()) }

// Mounts are none on this system.
func Mounts(testing.TB) []string { return nil }

// Leaks checks nothing on this system.
func Leaks(testing.TB) {}

// Threads checks nothing on this system.
func Threads(testing.TB) {}

func probe(Feature) (reason string, lacks bool) {
	return "no network namespaces on " + runtime.GOOS, true
}
