// Package store keeps the engine's records on the local machine, in two bbolt
// files of which each change is written as a whole or not at all.
//
// The engine holds all truth in memory: it reads the store once, after [Open],
// and from then on only writes. The data file (synced) holds what must outlive
// a boot; the run file (not synced, made for tmpfs) holds the rest and a copy
// of the data file, from which either heals the other. A kill at any
// instruction loses nothing that [Local.Commit] has answered; a power failure
// loses nothing that was committed as durable.
//
// Every record carries a checksum and every file a checksum over all its
// records, so damage is found, set aside and reported, never answered.
//
// A [Local] is safe for concurrent use. It runs one goroutine, which writes
// one transaction per file for all callers that wait, and which ends in
// [Local.Close]. A directory has one owner at a time, also within a process.
package store
