// Package arch holds the tests that keep the house in order: import
// directions, package docs, file sizes, no init functions, and the list of
// what the public packages export. It has no code of its own. Its tests read
// the module's source with the go command and change nothing, but for
// TestAPI -update, which writes api/*.txt.
package arch
