package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit measures one call: run records on tmpfs where there is one,
// durable ones with the data file on the disk of the temporary directory.
func BenchmarkCommit(b *testing.B) {
	for _, durable := range []bool{false, true} {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("durable=%t/callers=%d", durable, parallel), func(b *testing.B) {
				l := benchStore(b)
				value := make([]byte, 512)
				var n, id atomic.Int64
				op := func(id int64) Op {
					return Op{Kind: "endpoint", ID: fmt.Sprintf("%d-%d", id, n.Add(1)%1000), Value: value, Durable: durable}
				}
				b.ReportAllocs()
				if parallel == 1 {
					for b.Loop() {
						commit(b, l, op(0))
					}
					return
				}
				b.SetParallelism(max(1, parallel/2)) // times GOMAXPROCS, 2 where figures are taken
				b.RunParallel(func(pb *testing.PB) {
					me := id.Add(1)
					for pb.Next() {
						commit(b, l, op(me))
					}
				})
			})
		}
	}
}

func benchStore(b *testing.B) *Local {
	b.Helper()
	cfg := config(b)
	if dir, err := os.MkdirTemp("/dev/shm", "store"); err == nil { //nolint:usetesting // the run file is made for tmpfs
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		cfg.RunDir = filepath.Join(dir, "run")
	}
	return open(b, cfg)
}

// BenchmarkOpen reads 1000 networks and 1000 endpoints.
func BenchmarkOpen(b *testing.B) {
	cfg := config(b)
	l := open(b, cfg)
	var ops []Op
	for i := range 1000 {
		ops = append(ops, network(fmt.Sprint(i), string(make([]byte, 512))), endpoint(fmt.Sprint(i), string(make([]byte, 512))))
	}
	commit(b, l, ops...)
	_ = l.Close()
	for b.Loop() {
		reread(b, cfg)
	}
}
